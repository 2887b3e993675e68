"""The command line of a predictor, of the standard library alone: copied as a whole."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pathlib
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from gpunn.rows.csv_rows import wrong_delimiter
from gpunn.rows.lines import chunks_of
from gpunn.rows.predict_stream import predict_stream
from gpunn.rows.predictions import predictions_text
from gpunn.terminal import escaped
from gpunn.thresholds import limit_of

MODEL: dict[str, Any] = {}
"""Stand in for the predictor's own."""


def predict(rows: Sequence[Sequence[float]]) -> Any:
    """Stand in for the predictor's own."""
    raise NotImplementedError


def probabilities(outputs: Any) -> Any:
    """Stand in for the predictor's own."""
    raise NotImplementedError


def encoded(
    rows: list[list[str]], counts: dict[tuple[str, str | None], int] | None = None
) -> list[list[float]]:
    """Stand in for the predictor's own."""
    raise NotImplementedError


def decided(outputs: Sequence[float]) -> list[object]:
    """Return what is predicted: a class, yes (1) or no (0) of each label, or the numbers."""
    activation, classes = MODEL["output_activation"], MODEL["classes"]
    if activation == "sigmoid" and len(outputs) > 1:
        return [int(output > 0) for output in outputs]
    if activation not in ("softmax", "sigmoid"):
        return [float(output) for output in outputs]
    # As NumPy has it, NaN is the largest.
    largest = max(range(len(outputs)), key=lambda n: (outputs[n] != outputs[n], outputs[n]))
    code = largest if activation == "softmax" else int(outputs[0] > 0)
    if MODEL["threshold"] is not None:
        margin = float(outputs[-1]) - (float(outputs[0]) if len(outputs) == 2 else 0.0)
        code = int(margin >= limit_of(MODEL["threshold"]))
    return [classes[code] if classes else code]


def names_of_predictions(with_probabilities: bool) -> list[str]:
    """Return the names of what is written of a row."""
    count, targets = MODEL["outputs"], MODEL["targets"]
    single = count == 1 or MODEL["output_activation"] == "softmax"
    names = ["prediction"]
    if not single:
        names = [f"prediction_{name}" for name in targets or range(count)]
    if with_probabilities:
        labels = MODEL["classes"] if single else targets
        names += [f"probability_{label}" for label in labels or range(max(count, 2))]
    return names


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Predict from rows of CSV or JSON lines, as they come."
    )
    parser.add_argument(
        "input",
        nargs="?",
        default="-",
        help="file in UTF-8, plain or compressed with gzip; by default, or as -, standard input",
    )
    parser.add_argument("--output", help="file to write; by default standard output")
    parser.add_argument("--probabilities", action="store_true", help="add them beside the classes")
    parser.add_argument(
        "--threshold",
        type=float,
        help="predict the second of two classes from this probability on; else the model's "
        "threshold, or 0.5",
    )
    forms, found = ["csv", "jsonl"], "by default it is found"
    parser.add_argument(
        "--from", dest="form", choices=forms, help="form of the rows; else it is found"
    )
    parser.add_argument(
        "--to", choices=forms, help="form of the predictions; else that of the rows"
    )
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="leave out broken rows, and count them, instead of stopping at the first",
    )
    parser.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first row has names",
    )
    parser.add_argument("--delimiter", help=f"character between cells; {found}")
    parser.add_argument("--decimal", choices=[".", ","], help=f"mark; {found}")
    return parser


def main() -> None:
    """Read rows of CSV or JSON lines, and write their predictions as they come."""
    parser = arguments()
    options = parser.parse_args()
    if options.probabilities and MODEL["output_activation"] not in ("softmax", "sigmoid"):
        parser.error("--probabilities: this network gives no probabilities")
    if options.threshold is not None:
        two = MODEL["outputs"] == {"softmax": 2, "sigmoid": 1}.get(MODEL["output_activation"])
        if not two or not 0 <= options.threshold <= 1:
            parser.error("--threshold: expected 0 to 1, for a network that tells two classes apart")
        MODEL["threshold"] = options.threshold
    if options.delimiter is not None and (problem := wrong_delimiter(options.delimiter)):
        parser.error(f"--delimiter: {problem}")
    if options.input == "-" and sys.stdin is None:
        parser.error("standard input is closed; name a file with rows")
    if options.output is None and sys.stdout is None:
        parser.error("standard output is closed; name a file with --output")
    title = "standard input" if options.input == "-" else options.input

    def tell(text: str) -> None:
        try:
            sys.stderr.write(f"{escaped(f'{title}: {text}')}\n")
        except (AttributeError, OSError):
            sys.stderr = io.StringIO()  # closed or full; it is for notices alone

    try:
        with sys.stdin.buffer if options.input == "-" else open(options.input, "rb") as source:

            def write(file: BinaryIO) -> None:
                stream(source, file, options, tell)

            if options.output is None:
                write(sys.stdout.buffer)
            else:
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so nothing is left
                write_file(pathlib.Path(options.output), write)
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted.\n")
    except ValueError as error:
        parser.exit(2, f"Error: {escaped(f'{title}: {error}')}\n")
    except OSError as error:
        if sys.stdout is not None:  # What could not be written is not tried again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # of `... | head`
            sys.exit(1)
        parser.exit(2, f"Error: {escaped(str(error))}\n")


def write_file(path: pathlib.Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file, whole or not at all; what is a pipe, a device or a link stays one."""
    found = None
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
    if found and is_standard_output(found):  # a file, too, to which others may append
        write(sys.stdout.buffer)
        return
    if found and not stat.S_ISREG(found.st_mode):  # a folder is an error
        with path.open("wb") as file:
            write(file)
        return
    path = pathlib.Path(os.path.realpath(path))
    part = path.with_name(f".{os.urandom(8).hex()}.part")
    try:
        file = part.open("xb")  # a new file: neither another's, nor one that a link leads to
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with file:
            if found:
                part.chmod(found.st_mode & 0o777)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_standard_output(found: os.stat_result) -> bool:
    """Return whether a file is standard output, as which /dev/stdout is known."""
    try:
        return os.path.samestat(found, os.fstat(sys.stdout.fileno()))
    except (AttributeError, OSError):  # it is closed, or no file
        return False


def stream(
    source: BinaryIO, file: BinaryIO, options: argparse.Namespace, tell: Callable[[str], None]
) -> None:
    """Write predictions of the rows of one file to another."""
    layout = MODEL["input"]
    for name in ("header", "delimiter", "decimal"):
        if getattr(options, name) is not None:
            layout[name] = getattr(options, name)
    digits = 9 if MODEL["dtype"] == "float32" else 17

    def answer(rows: list[list[str]]) -> tuple[Any, dict[tuple[str, str | None], int]]:
        counts: dict[tuple[str, str | None], int] = {}
        outputs = predict(encoded(rows, counts))
        found = probabilities(outputs) if options.probabilities else [()] * len(rows)
        return zip(map(decided, outputs), found, strict=True), counts

    def begin(form: str) -> Callable[[Any], None]:
        names, form = names_of_predictions(options.probabilities), options.to or form
        header: list[Any] = [(names, [])] if form == "csv" else []

        def write(rows: Any) -> None:
            file.write(predictions_text([*header, *rows], names, form, digits).encode())
            file.flush()
            header.clear()

        return write

    predict_stream(
        chunks_of(source), layout, options.form, answer, begin, tell, options.skip_broken
    )
