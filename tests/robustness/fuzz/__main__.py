"""Throw broken files at every reader.

    python -m tests.robustness.fuzz [READER ...] [--files N] [--seed N]

Each file is either read or refused with gpunn.errors.InvalidFileError that names it; anything else
is a crash, whose file is kept. Reported for each reader: files tried, how many of them were still
valid, crashes, and the peak of the memory that Python and NumPy allocated while one was read,
beyond a mebibyte, as a multiple of the file's size. The files made to take much from little are
tried first, and their figures are reported by themselves.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpunn.errors import InvalidFileError

from .readers import READERS, measured

LIMIT = 2**32
"""Bytes of address space of the process."""


def multiple(peak: int, size: int, floor: int) -> float:
    return max(0, peak - floor) / max(size, 1)


def hunt(name: str, files: int, seed: int, folder: Path) -> dict[str, Any]:
    reader = READERS[name]()
    path = folder / f"file{reader.suffix}"
    counts = {"valid": 0, "invalid": 0}
    crashes, worst, worst_peak, largest = 0, 0.0, 0, 0
    greedy: dict[str, dict[str, float]] = {}
    for content in reader.good:  # what is imported, compiled or drawn once is not a file's
        path.write_bytes(content)
        with suppress(InvalidFileError):
            reader.read(path)
    began = time.perf_counter()
    for title, content in reader.greedy.items():
        path.write_bytes(content)
        start = time.perf_counter()
        found, peak = measured(reader, path)
        seconds = time.perf_counter() - start
        size = len(content)
        greedy[title] = {
            "bytes": size,
            "peak": peak,
            "multiple": multiple(peak, size, reader.floor),
        }
        greedy[title] |= {"seconds": round(seconds, 2), "valid": found == "valid"}
    rng = random.Random(f"{name} {seed}")
    for number in range(files):
        content = reader.broken(rng)
        path.write_bytes(content)
        try:
            found, peak = measured(reader, path)
        except Exception:
            crashes += 1
            kept = Path(f"crash-{name}-{seed}-{number}{reader.suffix}")
            kept.write_bytes(content)
            print(f"{kept}:\n{traceback.format_exc()}", file=sys.stderr)
            continue
        counts[found] += 1
        largest = max(largest, len(content))
        worst = max(worst, multiple(peak, len(content), reader.floor))
        worst_peak = max(worst_peak, peak)
    return {
        "reader": name,
        "files": files,
        **counts,
        "crashes": crashes,
        "largest_file": largest,
        "worst_peak": worst_peak,
        "worst_multiple": round(worst, 1),
        "seconds": round(time.perf_counter() - began, 1),
        "greedy": greedy,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("readers", nargs="*", choices=[*READERS, []], metavar="READER")
    parser.add_argument("--files", type=int, default=10_000, help="for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="add the figures to this file, a line a reader")
    parser.add_argument("--greedy", action="store_true", help="show each greedy file's figures")
    arguments = parser.parse_args()
    # A reader that asks for everything must not get it.
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    crashes = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.readers or READERS:
            figures = hunt(name, arguments.files, arguments.seed, Path(folder))
            crashes += figures["crashes"]
            worst = max(figures["greedy"].values(), key=lambda each: each["multiple"], default=None)
            print(
                f"{name}: {figures['files']:,} files, {figures['valid']:,} valid, "
                f"{figures['crashes']} crashes, peak {figures['worst_peak'] / 2**20:.2f} MiB, "
                f"multiple {figures['worst_multiple']}; greedy files: "
                f"multiple {worst['multiple'] if worst else 0:.1f}, "
                f"{figures['seconds']} s"
            )
            if arguments.greedy:
                for title, each in figures["greedy"].items():
                    print(f"    {title}: {each}")
            if arguments.json:
                with open(arguments.json, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"seed": arguments.seed, **figures}) + "\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"the process's peak of resident memory: {peak:.0f} MiB")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
