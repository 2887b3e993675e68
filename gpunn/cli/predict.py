"""`gpunn predict`."""

from __future__ import annotations

import io
from pathlib import Path

import click

from gpunn.cli.options import (
    backend_option,
    best_option,
    imports_option,
    load_run,
    only_one,
    run_argument,
)

__all__ = ["predict"]


@click.command(short_help="Predict from rows of data.")
@run_argument
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
    help="NPY or CSV file to write. By default CSV goes to standard output.",
)
@click.option(
    "--probabilities",
    is_flag=True,
    help="Give the classes' probabilities: beside the class in CSV, instead of it in NPY.",
)
@backend_option
@best_option
@imports_option
def predict(
    run_dir: Path,
    input_path: Path | None,
    named_input: Path | None,
    output_path: Path | None,
    probabilities: bool,
    backend: str | None,
    best: bool,
    allow_imports: bool,
) -> None:
    """Predict from rows of data with a trained network.

    RUN_DIR is the folder that `gpunn train` wrote, and INPUT a file with rows: NPY, NPZ, or CSV.
    For a network that was trained on a table it is a table, which may be TSV or Parquet too. For
    classes, the prediction is the most probable
    one, by the name it had in the training data; for numbers, it is the number.
    """
    import numpy as np

    from gpunn.errors import ArgumentError
    from gpunn.experiment.data import read_inputs
    from gpunn.experiment.predictions import interpret
    from gpunn.storage.files import write_atomically

    path = only_one(input_path, named_input, "INPUT", "--input")
    if path is None:
        raise click.UsageError("INPUT: a file with rows to predict from is needed")
    if output_path is not None and output_path.suffix not in (".npy", ".csv"):
        raise click.UsageError(f"--output: expected a name in .npy or .csv; got {output_path}")
    model, objects, config = load_run(run_dir, best, backend, allow_imports)
    X = read_inputs(path, config, model.metadata)
    predictions = interpret(model.predict(X), objects.loss, model.classes, model.target_names)
    if probabilities and predictions.probabilities is None:
        raise ArgumentError(
            f"--probabilities: a network trained with {objects.loss.name!r} gives no probabilities"
        )
    if output_path is not None and output_path.suffix == ".npy":
        array = predictions.probabilities if probabilities else predictions.values
        content = io.BytesIO()
        np.save(content, np.asarray(array), allow_pickle=False)
        write_atomically(output_path, content.getvalue())
    elif output_path is not None:
        write_atomically(output_path, predictions.table(probabilities).encode())
    else:
        click.echo(predictions.table(probabilities), nl=False)
    if output_path is not None:
        click.echo(f"{output_path}: {len(X):,} predictions", err=True)
