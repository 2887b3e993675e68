"""`gpunn train`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunn.cli.closed_output import FileCommand
from gpunn.cli.options import backend_option, imports_option, table_options, targets_option
from gpunn.cli.text import INTERRUPTED, evaluation_text, say, summary_table
from gpunn.errors import GpunnError
from gpunn.terminal import is_terminal

if TYPE_CHECKING:
    from gpunn.config import Config
    from gpunn.experiment import Experiment, RunFolder
    from gpunn.experiment.evaluation import Evaluation
    from gpunn.training.callbacks import Callback
    from gpunn.training.checkpoints.checkpoint import Checkpoint

__all__ = ["train"]

DEFAULT = "realmlp"
"""The network for a table, unless another one is named."""

HELD_OUT = 0.2
"""Part of a table's rows that is for testing, and of the others for validation."""

OPTIONS = {"columns": "column", "missing_values": "missing"}
"""Options whose names are not those of their keys in `[data]`."""

TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".tab", ".txt", ".parquet"))


@click.command(cls=FileCommand, short_help="Train a network and keep the run in a folder.")
@click.argument("config", type=click.Path(path_type=Path))
@targets_option
@click.option(
    "--positive",
    metavar="CLASS",
    help="Of two classes of a table the one that is looked for: precision, recall and the "
    "threshold are of that.  [default: the second, sorted]",
)
@click.option(
    "--threshold-for",
    metavar="CRITERION",
    help="Choose the threshold between two classes on the validation rows by f1, "
    "balanced_accuracy, precision=0.9 or recall=0.9, and keep it in the model.",
)
@click.option("--model", metavar="NAME", help=f"Network for a table.  [default: {DEFAULT}]")
@table_options
@backend_option
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a value of the configuration, such as training.epochs=3 or "
    "model.layers.1.rate=0.3. May be given several times.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the run.  [default: runs/<name of the configuration>]",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in that folder.")
@click.option("--resume", is_flag=True, help="Go on with an earlier run in that folder, if any.")
@imports_option
@click.option(
    "--live", is_flag=True, help="Show curves that grow, in the lowest lines of the terminal."
)
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
def train(
    config: Path,
    targets: tuple[str, ...],
    positive: str | None,
    threshold_for: str | None,
    model: str | None,
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
    """Train the network that CONFIG describes, and keep everything in a folder.

    CONFIG is a TOML file, or the folder of an earlier run, whose configuration is used again. Or it
    is a table, a CSV, TSV or Parquet file, and --target says what to predict: the configuration is
    then made, and kept with the run.

    Ctrl-C or SIGTERM ends training after the current step; what was trained so far is kept, and
    --resume goes on from there.
    """
    from gpunn.distributed import communicator
    from gpunn.distributed.agreement import Agreement
    from gpunn.experiment import RunFolder, build

    if overwrite and resume:
        raise click.UsageError("--overwrite and --resume exclude each other")
    if live and quiet:
        raise click.UsageError("--live and --quiet exclude each other")
    if targets and (config.is_dir() or config.suffix in (".toml", ".json")):
        raise click.UsageError(f"--target is for a table; {config} is none")
    config, output = _places(config, output)
    for key, text in (("data.positive", positive), ("training.threshold_for", threshold_for)):
        if text is not None:
            settings = (*settings, f"{key}={json.dumps(text, ensure_ascii=False)}")
    try:
        described = _configuration(config, targets, model, reading, settings)
    except GpunnError as error:
        Agreement.over(communicator()).fail(error)  # so that one of several processes says it
        raise
    ranks = described.get_communicator()

    def experiment() -> Experiment:
        ops = described.get_backend(backend, ranks)
        return build(described, ops, allow_imports=allow_imports, communicator=ranks)

    with Agreement.over(ranks).failing_together():
        if ranks.rank:
            stopped = _train_along(experiment)
        else:
            with RunFolder(output, overwrite=overwrite, resume=resume) as folder:
                stopped = _train(experiment(), folder, quiet, live)
    if "Ctrl-C" in stopped and ranks.rank:
        raise click.exceptions.Exit(INTERRUPTED)
    if "Ctrl-C" in stopped:
        raise KeyboardInterrupt


def _train_along(experiment: Callable[[], Experiment]) -> str:
    """Train as another rank than the first, which keeps the run and says what there is to say."""
    mine = experiment()
    history = mine.run(progress=False)
    mine.evaluate()
    return history.stopped


def _train(experiment: Experiment, folder: RunFolder, quiet: bool, live: bool) -> str:
    """Train, keep the run, and return why training ended before its last epoch, if it did."""
    from gpunn.cli.train_output import TrainOutput
    from gpunn.errors import DivergenceError
    from gpunn.experiment.files import listing
    from gpunn.training.callbacks.live_plot import LivePlot, surface

    checkpoint = folder.attach(experiment)
    tell = _silence if quiet else say
    bars = not quiet and is_terminal(sys.stderr)
    output = TrainOutput(experiment, _resumption(folder, checkpoint), epochs=not bars)
    shown: list[Callback] = [] if quiet else [output]
    if live and surface() is None:
        said = "--live: standard error is no terminal that can show curves, so none are shown"
        say(said, err=True)
    elif live and not any(isinstance(each, LivePlot) for each in experiment.callbacks):
        shown.append(LivePlot())
    try:
        history = experiment.run(*shown, folder, progress=bars, resume_from=checkpoint)
    except SystemExit:  # on SIGTERM, which leaves little time
        tell(f"{experiment.trainer.stop_reason}; gpunn train {folder.path} --resume goes on")
        raise
    except DivergenceError as error:
        folder.finish(str(error), None, failed=True)
        tell(f"Kept up to epoch {folder.kept_epoch}:\n{listing(folder.path)}")
        raise
    folder.save_model()  # first: nothing that happens from here on can lose what was trained
    metrics = experiment.evaluate()
    folder.finish(history.stopped, metrics)
    if history.stopped:
        tell(f"Ended in epoch {experiment.trainer.epoch}: {history.stopped}")
    if table := summary_table(history.rows, folder.best_epoch, metrics):
        tell(f"\n{table}\n")
    tell(_ending(metrics))
    tell(f"\n{listing(folder.path)}")
    if "Ctrl-C" in history.stopped:
        tell(f"\ngpunn train {folder.path} --resume goes on")
    return history.stopped


def _places(config: Path, output: Path | None) -> tuple[Path, Path]:
    """Return the configuration's file and the run's folder."""
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
    """Return the configuration in a file, or one for a table, which is to be read as is said."""
    from gpunn.config import load_config, parse_config, set_value

    if not targets:
        if TABLE_SUFFIXES.intersection(path.suffixes):
            raise click.UsageError(f"{path} is a table; say by --target which column to predict")
        for key, value in {"model": model, **reading}.items():
            if value is not None:
                option = OPTIONS.get(key, key)
                raise click.UsageError(f"--{option} is for a table, with --target")
        return load_config(path, settings)
    raw: dict[str, Any] = {
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
    for part in ("test", "validation"):
        if f"{part}_path" not in raw["data"]:
            raw["data"].setdefault(f"{part}_fraction", HELD_OUT)
    return parse_config(raw, Path())


def _silence(text: str) -> None:
    """Say nothing."""


def _resumption(folder: RunFolder, checkpoint: Checkpoint | None) -> str:
    if checkpoint is not None:
        progress = checkpoint.progress
        place = f"epoch {progress.epoch}"
        if progress.cursor is not None:
            place += f" and {progress.cursor.done} updates of the next one"
        return f"going on after {place} of the run in {folder.path}"
    if folder.resume:
        return f"no earlier run in {folder.path}: starting from the beginning"
    return ""


def _ending(found: Evaluation | None) -> str:
    return "The data has no test part." if found is None else f"Test: {evaluation_text(found)}"
