"""What happens beside training: stopping early, checkpoints, logs.

The learning rate of each epoch is among its figures, so every log has it. A loss that is not a
finite number always ends training (`DivergenceError`), callbacks or not. A new callback is a
subclass of `Callback` with any of its three methods.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunn.configurable import Configurable, check_integer, check_number
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.monitor import direction, improved, improvement_start, monitored

if TYPE_CHECKING:
    from gpunn.training.trainer import Trainer

__all__ = ["CSVLog", "Callback", "EarlyStopping", "JSONLinesLog", "ModelCheckpoint"]


class Callback(Configurable):
    """Base of all callbacks; every method does nothing."""

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first epoch of a call of `fit`, when `trainer.figures` is known."""

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        """After each epoch, with its row of the history. Setting `trainer.stop_reason` ends it."""

    def on_train_end(self, trainer: Trainer) -> None:
        """After the last epoch, also when training was stopped or failed, or could not begin."""


@dataclass(eq=False)
class EarlyStopping(Callback):
    """End training when a figure has not improved for a while, and go back to the best epoch.

    Each call of `fit` begins anew: bests of earlier calls, or of the run that a checkpoint came
    from, don't count. Going back takes along the optimizer's state, but not the history.

    Parameters
    ----------
    monitor : str
        A figure of the epoch, such as "val_loss" or "val_accuracy".
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" takes larger for accuracies and R2.
    patience : int
        Epochs without improvement before training ends.
    min_delta : float
        The least change that counts as an improvement.
    restore_best : bool
        Whether parameters and optimizer go back to the best epoch's when training ends, for
        whatever reason.

    Attributes
    ----------
    best : float
        The best figure.
    best_epoch : int
        Its epoch, from 1.
    """

    monitor: str = "val_loss"
    mode: str = "auto"
    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True

    name = "early_stopping"

    def __post_init__(self) -> None:
        check_integer("patience", self.patience)
        check_number("min_delta", self.min_delta, at_least=0)
        self.require_flag("restore_best")
        self._direction = direction(self.mode, self.monitor)
        self._start(0)

    def _start(self, epoch: int) -> None:
        self.best = improvement_start(self._direction)
        self.best_epoch = epoch
        self._snapshot: Any = None

    def on_train_begin(self, trainer: Trainer) -> None:
        check_monitored(trainer, self.monitor)
        self._start(trainer.epoch)

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        figure = monitored(logs, self.monitor)
        if improved(self._direction, figure, self.best, self.min_delta):
            self.best, self.best_epoch = figure, trainer.epoch
            if self.restore_best:
                self._snapshot = trainer.snapshot()
        elif trainer.epoch - self.best_epoch >= self.patience:
            trainer.stop_reason = (
                f"{self.monitor} has not improved since epoch {self.best_epoch} ({self.best:.6g})"
            )

    def on_train_end(self, trainer: Trainer) -> None:
        if self._snapshot is not None:
            trainer.restore(self._snapshot)
            self._snapshot = None


@dataclass(eq=False)
class ModelCheckpoint(Callback):
    """Write the model, or a checkpoint to go on from, after each epoch.

    Parameters
    ----------
    path : str or Path
        File to write; "{epoch}" in it stands for the epoch's number.
    monitor : str or None
        If set, only epochs that improve on this figure are written. A resumed run goes on from the
        best in its history, if the file is still there.
    mode : {"auto", "min", "max"}
        As in `EarlyStopping`.
    resumable : bool
        Whether to write the optimizer's state too (`Trainer.load_checkpoint`).
    """

    path: str | Path
    monitor: str | None = None
    mode: str = "auto"
    resumable: bool = False

    name = "model_checkpoint"

    def __post_init__(self) -> None:
        check_path(self.path)
        self.require_flag("resumable")
        self._direction = direction(self.mode, self.monitor or "")
        self._best = improvement_start(self._direction)

    def on_train_begin(self, trainer: Trainer) -> None:
        self._best = improvement_start(self._direction)
        if self.monitor is None:
            return
        check_monitored(trainer, self.monitor)
        if Path(self.path).exists():
            for row in trainer.history.rows:
                figure = row.get(self.monitor, self._best)
                if improved(self._direction, figure, self._best):
                    self._best = figure

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        if self.monitor is not None:
            figure = monitored(logs, self.monitor)
            if not improved(self._direction, figure, self._best):
                return
            self._best = figure
        path = Path(str(self.path).replace("{epoch}", str(trainer.epoch)))
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.resumable:
            trainer.save_checkpoint(path)
        else:
            trainer.model.save(path)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "path": str(self.path)}


@dataclass(eq=False)
class JSONLinesLog(Callback):
    """Append each epoch's figures to a file, one JSON object a line; null if not finite."""

    path: str | Path

    name = "json_lines_log"

    def __post_init__(self) -> None:
        check_path(self.path)

    def on_train_begin(self, trainer: Trainer) -> None:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        # JSON has no NaN and no infinity.
        figures = {name: x if math.isfinite(x) else None for name, x in logs.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")

    def config(self) -> dict[str, Any]:
        return {**super().config(), "path": str(self.path)}


@dataclass(eq=False)
class CSVLog(Callback):
    """Append each epoch's figures to a CSV file, with a header if the file is new.

    Training does not begin if an existing file has other columns.
    """

    path: str | Path

    name = "csv_log"

    def __post_init__(self) -> None:
        check_path(self.path)

    def on_train_begin(self, trainer: Trainer) -> None:
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = csv_header(path)
        if columns and set(columns) != set(trainer.figures):
            raise ArgumentError(
                f"csv_log.path: {path} has the columns {columns}; this run has {trainer.figures}. "
                "Choose another file"
            )

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        columns = csv_header(Path(self.path))
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns or list(logs))
            if not columns:
                writer.writeheader()
            writer.writerow(logs)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "path": str(self.path)}


def check_path(path: Any) -> None:
    """Raise an ArgumentTypeError unless this can name a file."""
    if not isinstance(path, (str, Path)) or not str(path):
        raise ArgumentTypeError(f"path: expected the name of a file; got {path!r}")


def csv_header(path: Path) -> list[str]:
    """Return the first row of a CSV file, empty if there is none."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def check_monitored(trainer: Trainer, monitor: str) -> None:
    """Raise an ArgumentError unless each epoch will have the figure."""
    monitored(dict.fromkeys(trainer.figures, 0.0), monitor)
