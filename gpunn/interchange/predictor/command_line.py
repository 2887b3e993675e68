"""The command line of a predictor. Exports copy it, so it uses only the standard library."""

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

from gpunn.intervals import bound_names, bounds
from gpunn.prediction_sets import set_of
from gpunn.rows.csv_rows import wrong_delimiter
from gpunn.rows.lines import chunks_of
from gpunn.rows.predict_stream import predict_stream
from gpunn.rows.predictions import predictions_text
from gpunn.terminal import escaped
from gpunn.thresholds import limit_of

MODEL: dict[str, Any] = {}
"""Placeholder for the predictor's definition."""


def predict(rows: Sequence[Sequence[float]]) -> Any:
    """Placeholder for the predictor's definition."""
    raise NotImplementedError


def probabilities(outputs: Any) -> Any:
    """Placeholder for the predictor's definition."""
    raise NotImplementedError


def encoded(
    rows: list[list[str]], counts: dict[tuple[str, str | None], int] | None = None
) -> list[list[float]]:
    """Placeholder for the predictor's definition."""
    raise NotImplementedError


def decided(outputs: Sequence[float]) -> list[object]:
    """Return a row's predictions as a list: the class, a 1 or 0 per label, or all outputs."""
    activation, classes = MODEL["output_activation"], MODEL["classes"]
    if activation == "sigmoid" and len(outputs) > 1:
        return [int(output > 0) for output in outputs]
    if activation not in ("softmax", "sigmoid"):
        return [float(output) for output in outputs]
    code = code_of(outputs)
    return [classes[code] if classes else code]


def code_of(outputs: Sequence[float]) -> int:
    activation = MODEL["output_activation"]
    # NaN is the largest, as in NumPy.
    largest = max(range(len(outputs)), key=lambda n: (outputs[n] != outputs[n], outputs[n]))
    code = largest if activation == "softmax" else int(outputs[0] > 0)
    if MODEL["threshold"] is not None:
        margin = float(outputs[-1]) - (float(outputs[0]) if len(outputs) == 2 else 0.0)
        code = int(margin >= limit_of(MODEL["threshold"]))
    return code


def with_bounds(outputs: Sequence[float], percent: int) -> list[object]:
    """Return three numbers for each target: the prediction, and the bounds of the interval."""
    found = bounds([float(output) for output in outputs], MODEL["intervals"], percent)
    return [number for triple in found for number in triple]


def with_set(outputs: Sequence[float], p: Sequence[float], percent: int) -> list[object]:
    """Return the predicted class, then for each class 1 if the prediction set has it, else 0."""
    return [*decided(outputs), *set_of(p, code_of(outputs), MODEL["prediction_sets"], percent)]


def names_of_predictions(
    with_probabilities: bool, percent: int | None, has_sets: bool
) -> list[str]:
    count, targets = MODEL["outputs"], MODEL["targets"]
    if percent is not None:
        return bound_names(len(MODEL["intervals"]["scores"]), targets)
    single = count == 1 or MODEL["output_activation"] == "softmax"
    names = ["prediction"]
    if not single:
        names = [f"prediction_{name}" for name in targets or range(count)]
    labels = (MODEL["classes"] if single else targets) or range(max(count, 2))
    names += [f"set_{label}" for label in labels] if has_sets else []
    return names + ([f"probability_{label}" for label in labels] if with_probabilities else [])


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Predict rows of CSV or JSON lines as they arrive."
    )
    parser.add_argument(
        "input",
        nargs="?",
        default="-",
        help="UTF-8 file, plain or compressed with gzip; - (the default) is standard input",
    )
    parser.add_argument("--output", help="file to write; standard output by default")
    parser.add_argument("--probabilities", action="store_true", help="also write probabilities")
    parser.add_argument(
        "--threshold",
        type=float,
        help="minimum probability at which the second of two classes is predicted; by default the "
        "model's threshold, or 0.5",
    )
    parser.add_argument(
        "--interval",
        type=int,
        metavar="PERCENT",
        help="for numbers: add the bounds of intervals, which contain this percentage of the true "
        "numbers",
    )
    parser.add_argument(
        "--sets",
        type=int,
        metavar="PERCENT",
        help="for classes: add 1 for each class in the row's set, and 0 for other classes; this "
        "percentage of the sets contains the true class",
    )
    formats, detected = ["csv", "jsonl"], "detected by default"
    parser.add_argument(
        "--from", dest="form", choices=formats, help=f"format of the rows; {detected}"
    )
    parser.add_argument(
        "--to",
        choices=formats,
        help="format of the predictions; by default the format of the input file",
    )
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="skip and count malformed rows, instead of stopping at the first",
    )
    parser.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help=f"whether the first row has column names; {detected}",
    )
    parser.add_argument("--delimiter", help=f"character between cells; {detected}")
    parser.add_argument("--decimal", choices=[".", ","], help=f"decimal mark; {detected}")
    return parser


def main() -> None:
    """Read rows of CSV or JSON lines, and write their predictions while they arrive."""
    parser = arguments()
    options = parser.parse_args()
    if options.probabilities and MODEL["output_activation"] not in ("softmax", "sigmoid"):
        parser.error("--probabilities: this network does not predict probabilities")
    if options.threshold is not None:
        if MODEL["outputs"] != {"softmax": 2, "sigmoid": 1}.get(MODEL["output_activation"]):
            parser.error("--threshold: needs a network with two classes")
        if not 0 <= options.threshold <= 1:
            parser.error("--threshold: expected a number from 0 to 1")
        MODEL["threshold"] = options.threshold
    for option, kind in ("interval", "intervals"), ("sets", "prediction_sets"):
        percent = getattr(options, option)
        if percent is not None and not MODEL[kind]:
            parser.error(f"--{option}: this network has no {kind.replace('_', ' ')}")
        if percent is not None and not 0 < percent < 100:
            parser.error(f"--{option}: expected an integer from 1 to 99")
    if options.delimiter is not None and (problem := wrong_delimiter(options.delimiter)):
        parser.error(f"--delimiter: {problem}")
    if options.input == "-" and sys.stdin is None:
        parser.error("standard input is closed; name a file with rows")
    if options.output is None and sys.stdout is None:
        parser.error("standard output is closed; name a file with --output")
    title = "standard input" if options.input == "-" else options.input

    def notify(text: str) -> None:
        try:
            sys.stderr.write(f"{escaped(f'{title}: {text}')}\n")
        except (AttributeError, OSError):
            sys.stderr = io.StringIO()  # closed or full; only notices are lost

    try:
        with sys.stdin.buffer if options.input == "-" else open(options.input, "rb") as source:

            def write(file: BinaryIO) -> None:
                stream(source, file, options, notify)

            if options.output is None:
                write(sys.stdout.buffer)
            else:
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # removes the partial file
                write_file(pathlib.Path(options.output), write)
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted.\n")
    except ValueError as error:
        parser.exit(2, f"Error: {escaped(f'{title}: {error}')}\n")
    except OSError as error:
        if sys.stdout is not None:  # Don't try again at exit to write what could not be written.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # of `... | head`
            sys.exit(1)
        parser.exit(2, f"Error: {escaped(str(error))}\n")


def write_file(path: pathlib.Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file completely or not at all; a pipe, a device or a link is not replaced."""
    existing = None
    with contextlib.suppress(FileNotFoundError):
        existing = path.stat()
    if existing and is_standard_output(existing):  # even a file: others may append to it
        write(sys.stdout.buffer)
        return
    if existing and not stat.S_ISREG(existing.st_mode):  # `open` raises an error for a folder
        with path.open("wb") as file:
            write(file)
        return
    path = pathlib.Path(os.path.realpath(path))
    part = path.with_name(f".{os.urandom(8).hex()}.part")
    try:
        with part.open("xb") as file:  # a new file: not another's, and not the target of a link
            if existing:
                part.chmod(existing.st_mode & 0o777)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:  # also a signal's, even if it comes while the file is created
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename == str(part):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def is_standard_output(file: os.stat_result) -> bool:
    try:
        return os.path.samestat(file, os.fstat(sys.stdout.fileno()))
    except (AttributeError, OSError):  # closed, or not a file
        return False


def stream(
    source: BinaryIO, file: BinaryIO, options: argparse.Namespace, notify: Callable[[str], None]
) -> None:
    layout = MODEL["input"]
    for name in ("header", "delimiter", "decimal"):
        if getattr(options, name) is not None:
            layout[name] = getattr(options, name)
    digits = 9 if MODEL["dtype"] == "float32" else 17

    def predict_rows(rows: list[list[str]]) -> tuple[Any, dict[tuple[str, str | None], int]]:
        counts: dict[tuple[str, str | None], int] = {}
        outputs = predict(encoded(rows, counts))
        none: list[Sequence[float]] = [()] * len(rows)
        with_p = options.probabilities or options.sets is not None
        p = probabilities(outputs) if with_p else none
        values = (
            with_bounds(row, options.interval)
            if options.interval is not None
            else decided(row)
            if options.sets is None
            else with_set(row, p_of_row, options.sets)
            for row, p_of_row in zip(outputs, p, strict=True)
        )
        return zip(values, p if options.probabilities else none, strict=True), counts

    def begin(form: str) -> Callable[[Any], None]:
        has_sets = options.sets is not None
        names = names_of_predictions(options.probabilities, options.interval, has_sets)
        form = options.to or form
        header: list[Any] = [(names, [])] if form == "csv" else []

        def write(rows: Any) -> None:
            file.write(predictions_text([*header, *rows], names, form, digits).encode())
            file.flush()
            header.clear()

        return write

    predict_stream(
        chunks_of(source), layout, options.form, predict_rows, begin, notify, options.skip_broken
    )
