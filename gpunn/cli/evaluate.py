"""`gpunn evaluate`."""

import json
from pathlib import Path

import click

from gpunn.cli.options import (
    PATH,
    backend_option,
    best_option,
    imports_option,
    load_run,
    only_one,
    run_argument,
    set_threshold,
    threshold_option,
)
from gpunn.cli.text import evaluation_text, say


@click.command(short_help="Print the loss and metrics of a trained network.")
@run_argument
@click.argument("rows_path", type=PATH, required=False, metavar="[DATA]")
@backend_option
@best_option
@imports_option
@click.option("--data-path", type=PATH, help="Another way to give DATA.")
@click.option("--target-path", type=PATH, help="NPY file with the targets, if DATA is an NPY file.")
@threshold_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    run_dir: Path,
    rows_path: Path | None,
    backend: str | None,
    best: bool,
    allow_imports: bool,
    data_path: Path | None,
    target_path: Path | None,
    threshold: float | None,
    as_json: bool,
) -> None:
    """Print the loss and metrics of a trained network.

    RUN_DIR is a folder that `gpunn train` wrote. Without DATA, the network is evaluated on the
    run's test split.

    DATA has other labeled rows: a CSV, NPZ or NPY file, or a folder of IDX files, whose test split
    gpunn uses. If the network was trained on a table, DATA is a CSV, TSV or Parquet file. If the
    network was trained on a folder of images, DATA is another folder of images.
    """
    from gpunn.errors import DataError
    from gpunn.experiment.build import evaluate_split, make_trainer
    from gpunn.experiment.data import read_split
    from gpunn.experiment.resume_checks import data_of_run
    from gpunn.storage.files import finite_or_none

    data_path = only_one(rows_path, data_path, "DATA", "--data-path")
    if target_path is not None and data_path is None:
        raise click.UsageError("--target-path: give the NPY file of the inputs as DATA")
    model, objects, config = load_run(run_dir, best, backend, allow_imports)
    set_threshold(model, objects.loss.output_activation, threshold)
    trainer = make_trainer(model, objects, config)
    if data_path is not None:
        source = getattr(config.data, "path", None)
        if source and data_path.is_file() and data_path.resolve() == Path(source).resolve():
            say(
                f"{data_path}: the network was trained on rows of this file, so the metrics are "
                "probably better than for new rows. To use only the test split, leave out DATA",
                err=True,
            )
        split = read_split(data_path, target_path, config, model.metadata, objects.loss)
    else:
        splits = data_of_run(run_dir, config, trainer.loss, model.output_shape[0])
        if splits.test is None:
            raise DataError(
                f"{run_dir}: the run's data has no test split; give labeled rows as DATA"
            )
        split = splits.test
    evaluation = evaluate_split(trainer, split, config.data)
    if as_json:
        say(json.dumps(finite_or_none(evaluation.plain()), allow_nan=False))
    else:
        say(evaluation_text(evaluation))
