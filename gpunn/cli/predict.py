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
    backend_option,
    best_option,
    imports_option,
    load_run,
    only_one,
    set_threshold,
    threshold_option,
)
from gpunn.cli.text import lines_escaped, say
from gpunn.terminal import is_terminal

if TYPE_CHECKING:
    from gpunn.config import DataSet
    from gpunn.experiment.predictions import Predictions
    from gpunn.network import Sequential

__all__ = ["predict"]

ARRAYS = (".npy", ".npz", ".parquet")
"""Files that are read as a whole; others are streams of rows."""

TEXT = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

FORMS = click.Choice(["csv", "jsonl"])


@click.command(short_help="Predict from rows of data.")
@click.argument("model_path", type=click.Path(path_type=Path), metavar="MODEL")
@click.argument("input_path", type=click.Path(path_type=Path), required=False, metavar="[INPUT]")
@click.option(
    "--input",
    "named_input",
    type=click.Path(path_type=Path),
    help="Rows to predict from, instead of INPUT.",
)
@click.option(
    "--output",
    "output_path",
    type=click.Path(path_type=Path),
    help="NPY, CSV or JSONL file to write, whole or not at all. By default predictions go to "
    "standard output.",
)
@click.option(
    "--probabilities",
    is_flag=True,
    help="Give the classes' probabilities: beside the class, or instead of it in NPY.",
)
@threshold_option
@click.option("--from", "form", type=FORMS, help="Form of the rows. By default it is found.")
@click.option("--to", type=FORMS, help="Form of the predictions.  [default: that of the rows]")
@click.option(
    "--skip-broken",
    is_flag=True,
    help="Leave out broken rows, and count them, instead of stopping at the first.",
)
@click.option(
    "--header/--no-header",
    default=None,
    help="Whether the first row has the columns' names. By default it is found.",
)
@DELIMITER_OPTION
@DECIMAL_OPTION
@backend_option
@best_option
@imports_option
def predict(
    model_path: Path,
    input_path: Path | None,
    named_input: Path | None,
    output_path: Path | None,
    probabilities: bool,
    threshold: float | None,
    form: str | None,
    to: str | None,
    skip_broken: bool,
    backend: str | None,
    best: bool,
    allow_imports: bool,
    **reading: Any,
) -> None:
    """Predict from rows of data with a trained network.

    MODEL is the folder that `gpunn train` wrote, or a model's file (.safetensors). INPUT has the
    rows: CSV or JSON lines, which may be compressed with gzip, NPY, NPZ or Parquet. Without INPUT,
    or where it is -, they are read from standard input. Rows of CSV and JSON lines are predicted as
    they come, in bounded memory but for the predictions of --output. For classes, the prediction is
    the most probable one, by the name it had in the training data; for numbers, it is the number.
    """
    from gpunn.errors import ArgumentError
    from gpunn.experiment.data import read_inputs
    from gpunn.experiment.predictions import interpret
    from gpunn.interchange.predictor.description import layout_of
    from gpunn.rows.csv_rows import wrong_delimiter

    path = only_one(input_path, named_input, "INPUT", "--input")
    needed = "INPUT: a file with rows to predict from is needed, or - for standard input"
    if path is None or str(path) == "-":
        if sys.stdin is None:
            raise click.UsageError(f"{needed}, which is closed here")
        if path is None and is_terminal(sys.stdin):
            raise click.UsageError(needed)
    if output_path is not None and output_path.suffix not in (".npy", ".csv", ".jsonl"):
        raise click.UsageError(
            f"--output: expected a name in .npy, .csv or .jsonl; got {output_path}"
        )
    if to is not None and output_path is not None and output_path.suffix == ".npy":
        raise click.UsageError(f"--to: {output_path} holds an array; give it another name")
    given = {option: value for option, value in reading.items() if value is not None}
    if "delimiter" in given and (problem := wrong_delimiter(given["delimiter"])):
        raise click.UsageError(f"--delimiter: {problem}")
    model, activation, loss, data = load_trained(model_path, best, backend, allow_imports)
    if probabilities and activation not in ("softmax", "sigmoid"):
        trained = f" trained with {loss!r}" if loss else ""
        raise ArgumentError(f"--probabilities: a network{trained} gives no probabilities")
    set_threshold(model, activation, threshold)
    sink = Sink(output_path, to, probabilities)

    def meaning(outputs: Any) -> Predictions:
        return interpret(outputs, activation, model.classes, model.target_names, model.threshold)

    if path is not None and path.suffix in ARRAYS:
        only_streams = given | {"from": form, "skip-broken": skip_broken}
        options = [option for option, value in only_streams.items() if value or option in given]
        if options:
            raise click.UsageError(
                f"--{options[0]}: only for CSV and JSON lines; {path} is read as a whole"
            )
        write: Callable[[Predictions], None] = sink.begin("csv")
        write(meaning(model.predict(read_inputs(path, data))))
    else:
        layout = layout_of(model) | given
        with opened(path, model.schema is not None) as (title, known, file):
            stream(model, layout, file, title, form or known, meaning, sink, skip_broken)
    sink.commit()


def load_trained(
    path: Path, best: bool, backend: str | None, allow_imports: bool
) -> tuple[Sequential, str | None, str | None, DataSet | None]:
    """Return a network, the activation and name of its loss, and what its run was trained on."""
    if path.is_dir() or path.suffix != ".safetensors":
        model, objects, config = load_run(path, best, backend, allow_imports)
        return model, objects.loss.output_activation, objects.loss.name, config.data
    from gpunn.load import load_model

    if best:
        raise click.UsageError(f"--best: only for the folder of a run; {path} is a file")
    model = load_model(path, backend, allow_imports=allow_imports)
    return model, model.output_activation, None, None


@contextlib.contextmanager
def opened(path: Path | None, is_table: bool) -> Iterator[tuple[str, str | None, BinaryIO]]:
    """Give the name of a stream of rows, its form if that is known, and the stream.

    Tables may have any name.
    """
    from gpunn.errors import DataError, DataFileError
    from gpunn.storage.reading import open_file

    if path is None or str(path) == "-":
        yield "standard input", None, sys.stdin.buffer
        return
    if path.is_fifo():  # of a shell's <(command)
        with path.open("rb") as file:
            yield str(path), None, file
        return
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if path.exists() and suffix not in TEXT and not is_table:
        listed = ", ".join((*ARRAYS, *TEXT))
        raise DataError(f"{path}: expected a name that ends in {listed}, or one of the last in .gz")
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
    """Write predictions of rows as they come."""
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

    try:
        predict_stream(chunks_of(file), layout, form, answer, sink.begin, tell, skip)
    except ValueError as error:
        raise DataError(f"{title}: {error}") from error


class Sink:
    """Where predictions go: to a file, or if the path is None to standard output.

    The form is "csv" or "jsonl"; None is what the path says, or else that of the rows.
    """

    def __init__(self, path: Path | None, form: str | None, with_probabilities: bool) -> None:
        self.path, self.with_probabilities = path, with_probabilities
        suffixes = {".csv": "csv", ".jsonl": "jsonl"}
        self.form = form or (None if path is None else suffixes.get(path.suffix))
        self._written: list[Any] = []  # of a file: whole or not at all
        self._rows = 0

    def begin(self, form: str) -> Callable[[Predictions], None]:
        """Return what writes predictions of further rows, of which `form` was the form."""
        from gpunn.rows.predictions import predictions_text, warn_of_formulas

        chosen = self.form or form
        needs_header = chosen == "csv"

        def write(found: Predictions) -> None:
            nonlocal needs_header
            self._rows += len(found.values)
            if self.path is not None and self.path.suffix == ".npy":
                array = found.probabilities if self.with_probabilities else found.values
                self._written.append(array)
                return
            names, rows = found.names(self.with_probabilities), found.rows(self.with_probabilities)
            if needs_header:
                rows, needs_header = itertools.chain([(names, [])], rows), False
                if found.values.dtype.kind == "U":
                    warn_of_formulas(found.labels)
            digits = 17 if found.values.dtype == "float64" else 9
            text = predictions_text(rows, names, chosen, digits)
            if self.path is None and is_terminal(sys.stdout):
                text = lines_escaped(text)
            content = text.encode()  # as rows are, whatever encoding a terminal has
            if self.path is None:
                click.echo(content, nl=False)
            else:
                self._written.append(content)

        return write

    def commit(self) -> None:
        """Write the file, if one was asked for."""
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
