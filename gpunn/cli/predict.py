"""`gpunn predict`."""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from gpunn.cli.options import (
    DECIMAL_OPTION,
    DELIMITER_OPTION,
    PATH,
    backend_option,
    best_option,
    check_probabilities,
    imports_option,
    load_trained,
    only_one,
    set_threshold,
    threshold_option,
)
from gpunn.cli.text import lines_escaped, say
from gpunn.terminal import is_terminal

if TYPE_CHECKING:
    from gpunn.experiment.predictions import Predictions
    from gpunn.network import Sequential

ARRAYS = (".npy", ".npz", ".parquet")
"""Suffixes of files that are read whole; other files are streamed row by row."""

TEXT = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

FORMATS = click.Choice(["csv", "jsonl"])


@click.command(short_help="Predict rows of data with a trained network.")
@click.argument("model_path", type=PATH, metavar="MODEL")
@click.argument("input_paths", type=PATH, nargs=-1, metavar="[INPUT]...")
@click.option("--input", "named_input", type=PATH, help="Another way to give INPUT.")
@click.option(
    "--output",
    "output_path",
    type=PATH,
    help="NPY, CSV or JSONL file to write; after an error, no file is written.  "
    "[default: standard output]",
)
@click.option(
    "--probabilities",
    is_flag=True,
    help="Add the class probabilities. An NPY file then contains only probabilities.",
)
@click.option(
    "--interval",
    type=click.IntRange(1, 99),
    metavar="PERCENT",
    help="For numbers: add columns with the bounds of prediction intervals. PERCENT of the "
    "intervals contain the true number.",
)
@click.option(
    "--sets",
    type=click.IntRange(1, 99),
    metavar="PERCENT",
    help="For classes: add a column for each class, with 1 if the class is in the row's prediction "
    "set, otherwise 0. PERCENT of the sets contain the true class. An NPY file then "
    "contains only the sets.",
)
@threshold_option
@click.option("--from", "form", type=FORMATS, help="Format of the rows; detected by default.")
@click.option(
    "--to",
    type=FORMATS,
    help="Format of the predictions.  [default: the format of --output, or of the rows]",
)
@click.option(
    "--skip-broken",
    is_flag=True,
    help="Skip and count malformed rows instead of stopping at the first.",
)
@click.option(
    "--header/--no-header",
    default=None,
    help="Whether the first row contains column names; detected by default.",
)
@DELIMITER_OPTION
@DECIMAL_OPTION
@backend_option
@best_option
@imports_option
def predict(
    model_path: Path,
    input_paths: tuple[Path, ...],
    named_input: Path | None,
    output_path: Path | None,
    probabilities: bool,
    interval: int | None,
    sets: int | None,
    threshold: float | None,
    form: str | None,
    to: str | None,
    skip_broken: bool,
    backend: str | None,
    best: bool,
    allow_imports: bool,
    **reading: Any,
) -> None:
    """Predict rows of data with a trained network.

    MODEL is a folder that `gpunn train` wrote, or a model file (.safetensors). INPUT has the rows:
    CSV or JSON lines, plain or compressed with gzip, NPY, NPZ or Parquet. If INPUT is missing or is
    -, gpunn reads standard input. Several INPUTs must be images, or folders of images.

    For classification, the prediction is a class name: the most probable class or, of two classes,
    the class that the model's threshold selects. For regression, the prediction is a number.

    CSV and JSON lines are streamed: gpunn predicts each row as it arrives, in bounded memory. With
    --output, the predictions stay in memory until the last row.
    """
    from gpunn.data.images import is_image
    from gpunn.errors import ArgumentError
    from gpunn.experiment.data import read_inputs
    from gpunn.experiment.images import predicted_images
    from gpunn.experiment.predictions import interpret, with_bounds, with_sets
    from gpunn.interchange.predictor.description import layout_of
    from gpunn.rows.csv_rows import wrong_delimiter

    path = only_one(next(iter(input_paths), None), named_input, "INPUT", "--input")
    images = path is not None and (path.is_dir() or is_image(path))
    if len(input_paths) > 1 and not images:
        raise click.UsageError(
            f"{input_paths[1]}: several INPUTs are allowed only for images; give one INPUT"
        )
    needed = "give a file with rows to predict"
    if path is None or str(path) == "-":
        if sys.stdin is None:
            raise click.UsageError(f"INPUT: standard input is closed; {needed}")
        if path is None and is_terminal(sys.stdin):
            raise click.UsageError(f"INPUT: {needed}, or - for standard input")
    if output_path is not None and output_path.suffix not in (".npy", ".csv", ".jsonl"):
        raise click.UsageError(
            f"--output: expected a file name that ends in .npy, .csv or .jsonl; got {output_path}"
        )
    if to is not None and output_path is not None and output_path.suffix == ".npy":
        raise click.UsageError(
            f"--to: {output_path} is an NPY file; remove --to, or choose a .csv or .jsonl file"
        )
    chosen = {option: value for option, value in reading.items() if value is not None}
    if "delimiter" in chosen and (problem := wrong_delimiter(chosen["delimiter"])):
        raise click.UsageError(f"--delimiter: {problem}")
    model, activation, loss, data = load_trained(model_path, best, backend, allow_imports)
    if probabilities:
        check_probabilities(activation, loss)
    set_threshold(model, activation, threshold)
    intervals = model.intervals
    if interval is not None and intervals is None:
        raise ArgumentError(
            "--interval: the network has no prediction intervals; remove the option. To get "
            "intervals, train a tabular regression model with validation rows"
        )
    prediction_sets = model.prediction_sets
    if sets is not None and prediction_sets is None:
        raise ArgumentError(
            "--sets: the network has no prediction sets; remove the option. To get sets, train a "
            "tabular classification model with validation rows and a single target"
        )
    sink = Sink(output_path, to, probabilities)

    def meaning(outputs: Any) -> Predictions:
        if interval is not None and intervals is not None:
            return with_bounds(outputs, intervals, interval, model.target_names)
        if sets is not None and prediction_sets is not None:
            assert activation is not None
            return with_sets(
                outputs, activation, model.classes, model.threshold, prediction_sets, sets
            )
        return interpret(outputs, activation, model.classes, model.target_names, model.threshold)

    if path is not None and (images or path.suffix in ARRAYS):
        only_streams = chosen | {"from": form, "skip-broken": skip_broken}
        options = [option for option, value in only_streams.items() if value or option in chosen]
        if options:
            raise click.UsageError(
                f"--{options[0]}: needs CSV or JSON lines, and {path} is neither; remove the option"
            )
        write: Callable[[Predictions], None] = sink.begin("csv")
        if images:
            for block in predicted_images(model, input_paths or [path], meaning):
                write(block)
        else:
            write(meaning(model.predict(read_inputs(path, data))))
    else:
        layout = layout_of(model) | chosen
        with opened(path, model.schema is not None) as (title, known, file):
            stream(model, layout, file, title, form or known, meaning, sink, skip_broken)
    sink.commit()


@contextlib.contextmanager
def opened(path: Path | None, is_table: bool) -> Iterator[tuple[str, str | None, BinaryIO]]:
    from gpunn.data.images import SUFFIXES
    from gpunn.errors import DataError, DataFileError
    from gpunn.storage.reading import open_file

    if path is None or str(path) == "-":
        yield "standard input", None, sys.stdin.buffer
        return
    if path.is_fifo():  # from a shell's <(command)
        with path.open("rb") as file:
            yield str(path), None, file
        return
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if path.exists() and suffix not in TEXT and not is_table:
        listed = ", ".join((*ARRAYS, *TEXT, *SUFFIXES))
        raise DataError(
            f"{path}: expected a file name that ends in {listed}; text files may also end in .gz"
        )
    with open_file(str(path), DataFileError) as file:
        yield str(path), TEXT.get(suffix), file


def stream(
    model: Sequential,
    layout: dict[str, Any],
    file: BinaryIO,
    title: str,
    form: str | None,
    meaning: Callable[[Any], Predictions],
    sink: Sink,
    skip: bool,
) -> None:
    from gpunn.errors import DataError
    from gpunn.experiment.predict_in_blocks import answers
    from gpunn.rows.lines import chunks_of
    from gpunn.rows.predict_stream import predict_stream

    outputs_of = answers(model, layout)

    def answer(rows: list[list[str]]) -> tuple[Predictions, dict[tuple[str, str | None], int]]:
        outputs, counts = outputs_of(rows)
        return meaning(outputs), counts

    def tell(text: str) -> None:
        say(f"{title}: {text}", err=True)

    with DataError.instead_of(ValueError, prefix=f"{title}: "):
        predict_stream(chunks_of(file), layout, form, answer, sink.begin, tell, skip)


class Sink:
    def __init__(self, path: Path | None, form: str | None, with_probabilities: bool) -> None:
        self.path, self.with_probabilities = path, with_probabilities
        suffixes = {".csv": "csv", ".jsonl": "jsonl"}
        self.form = form or (None if path is None else suffixes.get(path.suffix))
        self._written: list[Any] = []  # kept for `commit`, which writes all or nothing
        self._rows = 0

    def begin(self, form: str) -> Callable[[Predictions], None]:
        from gpunn.rows.predictions import predictions_text, warn_of_formulas

        chosen = self.form or form
        needs_header = chosen == "csv"

        def write(block: Predictions) -> None:
            nonlocal needs_header
            self._rows += len(block.values)
            if self.path is not None and self.path.suffix == ".npy":
                array = block.probabilities if self.with_probabilities else block.values
                array = array if block.sets is None else block.sets
                self._written.append(array)
                return
            names, rows = block.names(self.with_probabilities), block.rows(self.with_probabilities)
            if needs_header:
                rows, needs_header = itertools.chain([(names, [])], rows), False
                if block.values.dtype.kind == "U":
                    warn_of_formulas(block.labels)
            digits = 17 if block.values.dtype == "float64" else 9
            text = predictions_text(rows, names, chosen, digits)
            if self.path is None and is_terminal(sys.stdout):
                text = lines_escaped(text)
            content = text.encode()  # UTF-8 like the rows, whatever the terminal's encoding
            if self.path is None:
                click.echo(content, nl=False)
            else:
                self._written.append(content)

        return write

    def commit(self) -> None:
        import numpy as np

        from gpunn.storage.files import write_output

        if self.path is None:
            return
        if self.path.suffix == ".npy":
            content = io.BytesIO()
            np.save(content, np.concatenate(self._written), allow_pickle=False)
            self._written = [content.getvalue()]
        write_output(self.path, *self._written)
        say(f"{self.path}: {self._rows:,} predictions", err=True)
