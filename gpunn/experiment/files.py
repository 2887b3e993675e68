"""The files of a run's folder: the run's own, and where callbacks may put theirs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gpunn.errors import ConfigError
from gpunn.storage.checkpoint_folder import FOLDER
from gpunn.storage.models import FINAL
from gpunn.training import Trainer
from gpunn.training.callbacks import Callback, ModelCheckpoint
from gpunn.training.callbacks.epoch_logs import CSVLog, JSONLinesLog, TensorBoard, csv_line
from gpunn.training.callbacks.experiment_trackers import WandB
from gpunn.training.callbacks.norm_log import NormLog

__all__ = ["FILES", "Removal", "csv_table", "listing", "place_callback_files", "require_run"]

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
HISTORY = "history.jsonl"
TABLE = "history.csv"
NORMS = "norms.jsonl"
CHECKPOINTS = FOLDER
BEST = "best.safetensors"
EVALUATION = "evaluation.json"

FILES = {
    CONFIG: "the configuration with every default; it can be trained again",
    ENVIRONMENT: "backend, device, versions, BLAS and machine",
    HISTORY: "the loss and metrics of each epoch, one JSON object a line",
    TABLE: "the same as a table",
    NORMS: "norms of each layer's parameters and gradients after each epoch, as JSON lines",
    CHECKPOINTS: "the last few states of the training, for --resume",
    BEST: "the best epoch, with the optimizer's state",
    FINAL: "the trained network",
    EVALUATION: "how training ended, and the loss and metrics on the test part",
}
"""Every file of a run, with a word on each."""

FILE_CALLBACKS = (CSVLog, JSONLinesLog, ModelCheckpoint, NormLog, TensorBoard, WandB)
"""Callbacks that write to a path of theirs."""


def require_run(folder: Path) -> None:
    """Raise a ConfigError unless this is the folder of a run."""
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder}: expected the folder of a run; there is no {CONFIG} in it")


def listing(folder: Path) -> str:
    """Return the files of a run that are there, one a line, with a word on each."""
    written = {name: text for name, text in FILES.items() if (folder / name).exists()}
    width = len(str(folder / max(written, key=len, default="")))
    return "\n".join(f"{folder / name!s:<{width}}  {text}" for name, text in written.items())


def place_callback_files(folder: Path, callbacks: list[Callback]) -> list[Path]:
    """Put the files of callbacks into a run's folder, and return the logs among them.

    A path that leads out of the folder, or to one of the run's own files, raises a ConfigError.
    """
    logs = []
    for index, callback in enumerate(callbacks):
        if not isinstance(callback, FILE_CALLBACKS):
            continue
        check = partial(_check_place, folder, f"training.callbacks[{index}].path")
        callback.path = folder / callback.path
        check(callback.path)
        if isinstance(callback, ModelCheckpoint):
            # Once more for each file, when it is known what {epoch} stands for.
            callback.check_place = check
        elif isinstance(callback, WandB):
            pass  # what it keeps belongs to another program, and has another name each time
        elif (path := callback.path.resolve()).is_relative_to(folder.resolve()):
            logs.append(path)
    return logs


def _check_place(run: Path, place: str, path: Path) -> None:
    folder, path = run.resolve(), path.resolve()
    if not path.is_relative_to(folder):
        raise ConfigError(
            f"{place}: {str(path)!r} leads out of the run's folder {run}, where callbacks keep "
            "their files"
        )
    if path.is_relative_to((folder / CHECKPOINTS).resolve()) or (
        path.parent == folder and path.name in FILES
    ):
        raise ConfigError(
            f"{place}: the run keeps its own {path.name} in {run}; choose another name"
        )


class Removal(Callback):
    """Removes logs of an earlier run: aside when training begins, for good by `settle`.

    What has not been settled when training ends is put back. A process that is killed meanwhile
    leaves them beside their places.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._aside: dict[Path, Path] = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        for path in self.paths:
            for file in path.glob("events.out.tfevents.*") if path.is_dir() else [path]:
                if file.exists():
                    aside = file.with_name(f".{file.name}.overwritten")
                    file.replace(aside)
                    self._aside[file] = aside

    def settle(self) -> None:
        """Remove them for good."""
        for aside in self._aside.values():
            aside.unlink(missing_ok=True)
        self._aside.clear()

    def on_train_end(self, trainer: Trainer) -> None:
        for file, aside in self._aside.items():
            aside.replace(file)
        self._aside.clear()


def csv_table(names: list[str], rows: list[dict[str, float]]) -> str:
    """Return a history as CSV with a header, which has a column for each of these names too."""
    columns = list(dict.fromkeys([*(name for row in rows for name in row), *names]))
    header = dict(zip(columns, columns, strict=True))
    return "".join([csv_line(columns, header), *(csv_line(columns, row) for row in rows)])
