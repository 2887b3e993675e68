"""`gpunn train`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunn.cli.automatic import automatic_settings, train_automatically
from gpunn.cli.closed_output import FileCommand
from gpunn.cli.options import (
    PATH,
    TABLE_SUFFIXES,
    backend_option,
    imports_option,
    seconds_of,
    settings_option,
    table_options,
    targets_option,
)
from gpunn.cli.text import INTERRUPTED, evaluation_text, say, summary_table
from gpunn.errors import GpunnError
from gpunn.terminal import is_terminal

if TYPE_CHECKING:
    from gpunn.config import Config
    from gpunn.experiment import Experiment, RunFolder
    from gpunn.training.callbacks import Callback
    from gpunn.training.checkpoints.checkpoint import Checkpoint


DEFAULT = "realmlp"
"""The name of the model for a table, if `--model` is not given."""

HELD_OUT = 0.2
"""Fraction of the rows that is held out for testing, then fraction of the rest for validation."""

OPTIONS = {"columns": "column", "missing_values": "missing"}


@click.command(cls=FileCommand, short_help="Train a network and save the run in a folder.")
@click.argument("config", type=PATH)
@targets_option
@click.option(
    "--positive",
    metavar="CLASS",
    help="Which of two classes is positive, for precision, recall and the threshold.  "
    "[default: the second in sorted order]",
)
@click.option(
    "--threshold-for",
    metavar="CRITERION",
    help="Choose the threshold between two classes by a criterion on the validation rows: f1, "
    "balanced_accuracy, precision=0.9 or recall=0.9. The model stores the threshold.",
)
@click.option(
    "--model",
    metavar="NAME",
    help=f"Model for a table: realmlp, realmlp_s, tabm or auto.  [default: {DEFAULT}]",
)
@click.option(
    "--time",
    "time_limit",
    callback=seconds_of,
    metavar="TIME",
    help="Train several models within this time, such as 90s, 10m or 2h, and combine the best "
    "models. Implies --model auto.",
)
@click.option(
    "--compare",
    metavar="NAMES",
    help="For --time: also show the scores of other libraries on the same rows. Separate the names "
    "lightgbm, xgboost, catboost and sklearn by commas.",
)
@click.option(
    "--distill",
    is_flag=True,
    help="For --time: train one network on the predictions of the ensemble, and keep only this "
    "network, for fast predictions and small exported files.",
)
@table_options
@backend_option
@settings_option
@click.option("--output", type=PATH, help="The run folder.  [default: runs/<name of CONFIG>]")
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in the run folder.")
@click.option(
    "--resume", is_flag=True, help="Continue an earlier run in the run folder, if there is one."
)
@imports_option
@click.option("--live", is_flag=True, help="Show live curves in the last lines of the terminal.")
@click.option("--quiet", is_flag=True, help="Print only warnings and errors.")
def train(
    config: Path,
    targets: tuple[str, ...],
    positive: str | None,
    threshold_for: str | None,
    model: str | None,
    time_limit: float | None,
    compare: str | None,
    distill: bool,
    reading: Mapping[str, Any],
    backend: str | None,
    settings: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    resume: bool,
    allow_imports: bool,
    live: bool,
    quiet: bool,
) -> None:
    """Train a network and save the run in a folder.

    CONFIG is a table, a folder of images, a configuration, or the folder of an earlier run. For a
    table (a CSV, TSV or Parquet file), name the column to predict with --target. A folder of images
    has a subfolder for each class. For a table or a folder of images, gpunn writes a configuration
    into the run folder. A configuration is a TOML file. For an earlier run, gpunn uses the run's
    configuration again.

    To stop early, press Ctrl-C or send SIGTERM: training ends after the current step and saves its
    state. To continue, repeat the command with --resume.
    """
    from gpunn.config import Draft
    from gpunn.data.images import SUFFIXES, is_image_folder
    from gpunn.distributed import communicator
    from gpunn.distributed.agreement import Agreement
    from gpunn.experiment import RunFolder, build
    from gpunn.experiment.automatic import prepared
    from gpunn.experiment.automatic_folder import AutomaticFolder
    from gpunn.experiment.files import require_run
    from gpunn.experiment.networks import AUTO

    if overwrite and resume:
        raise click.UsageError("--overwrite and --resume cannot be combined; remove one of them")
    if live and quiet:
        raise click.UsageError("--live and --quiet cannot be combined; remove one of them")
    if targets and (config.is_dir() or config.suffix in (".toml", ".json")):
        raise click.UsageError(f"--target: {config} is not a table; remove --target")
    if config.suffix == ".safetensors":
        raise click.UsageError(
            f"{config} is a model; give a table, a configuration or a run folder"
        )
    if is_image_folder(config):
        run_dir, output = None, output or Path("runs", config.resolve().name)
    else:
        run_dir = config if config.is_dir() else None
        config, output = _paths(config, output)
    for key, text in (("data.positive", positive), ("training.threshold_for", threshold_for)):
        if text is not None:
            settings = (*settings, f"{key}={json.dumps(text, ensure_ascii=False)}")
    if time_limit is not None and targets:
        if model not in (None, AUTO):
            raise click.UsageError(
                f"--time: cannot be combined with --model {model}; remove one of the two options"
            )
        model = AUTO
    automatic = automatic_settings(time_limit, compare, distill)
    settings = (*settings, *automatic.values())
    try:
        if run_dir is not None:
            require_run(run_dir, f", or one with images ({', '.join(SUFFIXES)})")
        described = _configuration(config, targets, model, reading, settings)
    except GpunnError as error:
        Agreement.over(communicator()).fail(error)  # only one of several processes reports it
        raise
    for option in automatic if described.model.name != AUTO else ():
        needed = "--target" if option == "--time" else "--target and --time"
        raise click.UsageError(
            f"{option}: give a table with {needed}, or the folder of a run with the model {AUTO!r}"
        )
    ranks = described.get_communicator()

    def experiment() -> Experiment:
        ops = described.get_backend(backend, ranks)
        return build(described, ops, allow_imports=allow_imports, communicator=ranks)

    with Agreement.over(ranks).failing_together():
        if isinstance(described, Draft) and described.model.name == AUTO:
            if live or ranks.size > 1:
                raise click.UsageError(
                    f"the model {AUTO!r} does not support --live or several processes; leave out "
                    "--live, and start only one process"
                )
            with AutomaticFolder(output, overwrite=overwrite, resume=resume) as here:
                run = prepared(described, backend, allow_imports=allow_imports)
                stopped = train_automatically(run, here, quiet)
        elif ranks.rank:
            stopped = _train_along(experiment)
        else:
            with RunFolder(output, overwrite=overwrite, resume=resume) as folder:
                stopped = _train(experiment(), folder, quiet, live)
    if "Ctrl-C" in stopped and ranks.rank:
        raise click.exceptions.Exit(INTERRUPTED)
    if "Ctrl-C" in stopped:
        raise KeyboardInterrupt


def _train_along(experiment: Callable[[], Experiment]) -> str:
    """Train without writing or printing, in a rank other than 0; return why training stopped."""
    local = experiment()
    history = local.run(progress=False)
    local.calibrate()  # as rank 0 does, since all ranks evaluate the same network
    local.evaluate()
    return history.stopped


def _train(experiment: Experiment, folder: RunFolder, quiet: bool, live: bool) -> str:
    from gpunn.cli.train_output import TrainOutput
    from gpunn.errors import DivergenceError
    from gpunn.experiment.files import listing
    from gpunn.experiment.inspection import warn_of_findings
    from gpunn.training.callbacks.live_plot import LivePlot, surface

    checkpoint = folder.attach(experiment)
    if checkpoint is None:
        warn_of_findings(experiment.config, experiment.trainer.model.schema, experiment.splits)
    tell: Callable[[str], None] = (lambda text: None) if quiet else say
    bars = not quiet and is_terminal(sys.stderr)
    output = TrainOutput(experiment, _resumption(folder, checkpoint), epochs=not bars)
    shown: list[Callback] = [] if quiet else [output]
    if live and surface() is None:
        notice = "--live: standard error is not a terminal that can show curves"
        say(notice, err=True)
    elif live and not any(isinstance(each, LivePlot) for each in experiment.callbacks):
        shown.append(LivePlot())
    try:
        history = experiment.run(*shown, folder, progress=bars, resume_from=checkpoint)
    except SystemExit:  # on SIGTERM, which leaves little time
        tell(f"{experiment.trainer.stop_reason}; to continue: gpunn train {folder.path} --resume")
        raise
    except DivergenceError as error:
        folder.finish(str(error), None, failed=True)
        tell(f"Training is saved up to epoch {folder.kept_epoch}:\n{listing(folder.path)}")
        raise
    folder.save_model()  # first, so that no later failure can lose the trained network
    metrics = experiment.evaluate()
    folder.finish(history.stopped, metrics)
    if history.stopped:
        tell(f"Ended in epoch {experiment.trainer.epoch}: {history.stopped}")
    if table := summary_table(history.rows, folder.best_epoch, metrics):
        tell(f"\n{table}\n")
    test = "The data has no test split." if metrics is None else f"Test: {evaluation_text(metrics)}"
    tell(test)
    tell(f"\n{listing(folder.path)}")
    if "Ctrl-C" in history.stopped:
        tell(f"\nTo continue: gpunn train {folder.path} --resume")
    return history.stopped


def _paths(config: Path, output: Path | None) -> tuple[Path, Path]:
    if config.is_dir():
        return config / "config.json", output or config
    name = config.absolute().parent.name if config.name == "config.json" else config.stem
    return config, output or Path("runs", name.removesuffix(".csv").removesuffix(".tsv"))


def _configuration(
    path: Path,
    targets: tuple[str, ...],
    model: str | None,
    reading: Mapping[str, Any],
    settings: tuple[str, ...],
) -> Config:
    from gpunn.config import load_config, parse_config, set_value
    from gpunn.experiment.images import default_configuration
    from gpunn.experiment.networks import AUTO

    raw: dict[str, Any]
    if not targets:
        if TABLE_SUFFIXES.intersection(path.suffixes):
            raise click.UsageError(f"{path} is a table; name the column to predict with --target")
        for key, value in {"model": model, **reading}.items():
            if value is not None:
                path_of_key = "model.name" if key == "model" else f"data.{key}"
                raise click.UsageError(
                    f"--{OPTIONS.get(key, key)}: needs a table with --target; in a "
                    f"configuration, set {path_of_key} instead"
                )
        if not path.is_dir():
            return load_config(path, settings)
        raw = default_configuration(path, HELD_OUT)
        for setting in settings:
            set_value(raw, setting)
        return parse_config(raw, Path())
    raw = {
        "data": {
            "dataset": "table",
            "path": str(path.absolute()),
            "target": targets[0] if len(targets) == 1 else list(targets),
            **reading,
        },
        "model": {"name": model or DEFAULT},
    }
    for setting in settings:
        set_value(raw, setting)
    # The model "auto" holds out rows itself: each fold in turn.
    parts = ["test"] if raw["model"]["name"] == AUTO else ["test", "validation"]
    for part in parts:
        if f"{part}_path" not in raw["data"]:
            raw["data"].setdefault(f"{part}_fraction", HELD_OUT)
    return parse_config(raw, Path())


def _resumption(folder: RunFolder, checkpoint: Checkpoint | None) -> str:
    from gpunn.meaning import plural

    if checkpoint is not None:
        progress = checkpoint.progress
        done = f"epoch {progress.epoch}"
        if progress.cursor is not None:
            done += f" and {plural(progress.cursor.done, 'update')} of the next epoch"
        return f"resuming after {done} of the run in {folder.path}"
    if folder.resume:
        return f"no earlier run in {folder.path}; starting a new one"
    return ""
