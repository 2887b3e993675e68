"""Let coverage guide the search for files that break a reader, with atheris (pip install atheris).

    python -m tests.robustness.fuzz.atheris_target READER [LIBFUZZER_OPTION ...]

READER is one that `python -m tests.robustness.fuzz --help` names; an option of libFuzzer is
-max_total_time=60. The search begins with the good files, and stops with the file (crash-...) at
the first answer that is neither an object nor an InvalidFileError. Files with a checksum are given
the right one, or nothing behind it would be reached.
"""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("atheris_target.py: needs the package atheris (pip install atheris)")

with atheris.instrument_imports(include=["gpunn"]):
    from .readers import READERS, repacked, unpacked, verdict


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        sys.exit(f"usage: atheris_target.py {{{','.join(READERS)}}} [libFuzzer's options]")
    reader = READERS[sys.argv.pop(1)]()
    folder = Path(tempfile.mkdtemp())
    path = folder / f"file{reader.suffix}"

    def one_input(data: bytes) -> None:
        if reader.suffix == ".safetensors":
            # Not even a header: then as it is.
            with suppress(AttributeError, KeyError, TypeError, ValueError, RecursionError):
                data = repacked(*unpacked(data))
        path.write_bytes(data)
        verdict(reader, path)

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(reader.good):
        (corpus / str(number)).write_bytes(content)
    atheris.Setup([*sys.argv, str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
