"""Callbacks: their base class, early stopping and checkpoints.

Logs are in `logs` and `norms`. A loss that is not finite needs no callback to be noticed
(`Trainer.on_divergence`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gpunn.configurable import Configurable, check_choice, check_integer, check_number
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.monitor import Best, BestSoFar, check_mode, direction, monitored
from gpunn.storage.files import make_folder
from gpunn.storage.numbered_files import NumberedFiles
from gpunn.storage.reading import checked_path
from gpunn.training.protocol import TrainerProtocol

__all__ = ["Callback", "EarlyStopping", "ModelCheckpoint", "check_path"]


class Callback(Configurable):
    """Base class of callbacks. A subclass overrides any of its methods, which do nothing.

    `trainer` is the `gpunn.Trainer` that calls.

    Attributes
    ----------
    saves : bool
        Whether it writes checkpoints. Such callbacks are called after all others, so that their
        checkpoints have the others' latest state.
    every_updates : int or None
        `on_updates_end` is called after each so many updates, counted from the beginning of
        training; None leaves it to the trainer, which calls it about every tenth of a second.

    Examples
    --------
    >>> import gpunn
    >>> class Print(gpunn.callbacks.Callback):
    ...     name = "print"
    ...
    ...     def on_epoch_end(self, trainer, logs):
    ...         print(trainer.epoch, logs["loss"])
    >>> layer = gpunn.layers.Dense(1, bias=False, initializer="zeros")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.25))
    >>> history = trainer.fit([[1.0]], [1.0], epochs=2, callbacks=[Print()], progress=False)
    1 1.0
    2 0.25
    """

    saves: ClassVar[bool] = False
    every_updates: int | None = None

    def on_train_begin(self, trainer: Any) -> None:
        """Do something before the first epoch of a call of `fit`.

        `trainer.log_names` has the names of the logs to come.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        """

    def on_updates_end(self, trainer: Any) -> None:
        """Do something within an epoch, between two updates.

        It must not change the network or the data.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        """

    def on_epoch_end(self, trainer: Any, logs: Mapping[str, float]) -> None:
        """Do something after each epoch.

        `trainer.stop_reason`, a text that is set here, ends training.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        logs : mapping of str to float
            The epoch's row of the history.
        """

    def on_interruption(self, trainer: Any) -> None:
        """Do something when Ctrl-C or SIGTERM ends training, before `on_train_end`.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        """

    def on_train_end(self, trainer: Any) -> None:
        """Do something after the last epoch, also if training failed or could not begin.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        """

    def state(self, trainer: Any) -> dict[str, Any]:
        """Return what a checkpoint keeps of the callback.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.

        Returns
        -------
        dict of str to value
            Values of JSON types, and host arrays; empty by default.
        """
        return {}

    def restore(self, state: Mapping[str, Any], trainer: Any) -> None:
        """Take back what `state` returned, after `on_train_begin` of a resumed run.

        Parameters
        ----------
        state : mapping of str to value
            What `state` returned; empty if the run had no such callback, or it had no state.
        trainer : Trainer
            The one that calls.
        """

    def config(self) -> dict[str, Any]:
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in super().config().items()
        }


@dataclass(eq=False)
class EarlyStopping(Callback):
    """End training when a metric has stopped improving, and go back to the best epoch.

    Each call of `fit` begins anew, without the best epochs of earlier calls; a resumed call
    (`fit(resume_from=...)`) continues. Parameters and optimizer go back, the history does not.

    Parameters
    ----------
    monitor : str
        Name of a log, such as "val_loss" or "val_accuracy".
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better; "auto" asks the metric (`Metric.larger_is_better`), and
        takes smaller for losses.
    patience : int
        Epochs without improvement before training ends, at least 1.
    min_delta : float
        Changes that are not larger do not count as an improvement.
    restore_best : bool
        Whether parameters and optimizer go back to the best epoch when training ends, for any
        reason.
    ties : {"first", "last"}
        Which of several equally good epochs is the best. With "last", an epoch that is better by
        exactly `min_delta` counts as an improvement; if that is 0, one as good as the best so far.

    Attributes
    ----------
    best : float
        The best value; NaN before training.
    best_epoch : int
        Its epoch, from 1.

    Raises
    ------
    ArgumentError
        When training begins: if there is no such log, or `mode` is "auto" and the metric does not
        say whether larger is better.

    Examples
    --------
    >>> import gpunn
    >>> model = gpunn.Sequential([gpunn.layers.Dense(1, initializer="zeros")], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.0))
    >>> stop = gpunn.callbacks.EarlyStopping(monitor="loss", patience=2)
    >>> history = trainer.fit([[1.0]], [1.0], epochs=9, callbacks=[stop], progress=False)
    >>> len(history["loss"]), history.stopped
    (3, 'loss has not improved since epoch 1 (0.562321)')
    """

    monitor: str = "val_loss"
    mode: str = "auto"
    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True
    ties: str = "first"

    name = "early_stopping"
    beside_fields = frozenset(("best", "best_epoch"))

    def __post_init__(self) -> None:
        check_integer("patience", self.patience)
        check_number("min_delta", self.min_delta, at_least=0)
        self.require_flag("restore_best")
        check_choice("ties", self.ties, ("first", "last"))
        check_mode(self.mode)
        self._direction, self.best, self.best_epoch = "", math.nan, 0
        self._search = BestSoFar()
        self._snapshot: Any = None

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        self._direction = monitored_direction(trainer, self.mode, self.monitor)
        self.best, self.best_epoch = self.rule.start, trainer.epoch
        self._search, self._snapshot = BestSoFar(), None

    @property
    def rule(self) -> Best:
        """The rule for the best epoch, once training has begun."""
        return Best(self.monitor, self._direction, self.min_delta, self.ties)

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        value = monitored(logs, self.monitor)
        if self._search.improves(self.rule, value):
            self.best, self.best_epoch = value, trainer.epoch
            if self.restore_best:
                self._snapshot = trainer.snapshot()
        self._judge(trainer)

    def _judge(self, trainer: TrainerProtocol) -> None:
        if self._search.waited >= self.patience:
            trainer.stop_reason = self._reason

    @property
    def _reason(self) -> str:
        return f"{self.monitor} has not improved since epoch {self.best_epoch} ({self.best:.6g})"

    def state(self, trainer: TrainerProtocol) -> dict[str, Any]:
        arrays = {} if self._snapshot is None else trainer.snapshot_to_host(self._snapshot)
        return {
            "figure": [self.monitor, self._direction],
            "best": self.best,
            "best_epoch": self.best_epoch,
            **arrays,
        }

    def restore(self, state: Mapping[str, Any], trainer: TrainerProtocol) -> None:
        if state.get("figure") != [self.monitor, self._direction]:
            return  # there was no such callback, or it monitored another metric
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])
        self._search = BestSoFar(self.best, trainer.epoch - self.best_epoch)
        if self.restore_best and "values" in state:
            self._snapshot = trainer.snapshot_from_host(state)
        # `patience` may be larger now.
        if trainer.stop_reason == self._reason:
            trainer.stop_reason = ""
        self._judge(trainer)

    def on_train_end(self, trainer: TrainerProtocol) -> None:
        if self._snapshot is not None:
            trainer.restore(self._snapshot)
            self._snapshot = None


@dataclass(eq=False)
class ModelCheckpoint(Callback):
    """Write the model, or a checkpoint to resume from, after each epoch or more often.

    Parameters
    ----------
    path : str or Path
        File to write; "{epoch}" in it stands for the number of epochs done, "{updates}" for the
        number of updates.
    monitor : str or None
        If set, only epochs that improve this metric are written. A resumed run starts from the best
        in its history, if the file is still there.
    mode : {"auto", "min", "max"}
        As in `EarlyStopping`.
    resumable : bool
        Whether to write a checkpoint for `Trainer.fit(resume_from=...)`. It is also written when
        Ctrl-C or SIGTERM ends training, unless there is a `monitor`.
    keep : int or None
        How many files to keep, the newest ones, if the path has "{epoch}" or "{updates}"; None
        keeps all.
    every_updates : int or None
        Also write after each so many updates. Needs `resumable`, and no `monitor`.
    every_seconds : float or None
        Also write within an epoch when the last file is so many seconds old. Needs the same.

    Raises
    ------
    ArgumentError
        If `keep` is set and the path has neither "{epoch}" nor "{updates}", or `every_updates` or
        `every_seconds` without `resumable`.

    Examples
    --------
    >>> import gpunn
    >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error")
    >>> keep_best = gpunn.callbacks.ModelCheckpoint("best.safetensors", monitor="loss")
    >>> history = trainer.fit([[1.0]], [1.0], epochs=3, callbacks=[keep_best], progress=False)
    >>> gpunn.load_model("best.safetensors", backend="numpy")
    <Sequential (1,) -> (1,) on numpy>
    """

    path: str | Path
    monitor: str | None = None
    mode: str = "auto"
    resumable: bool = False
    keep: int | None = None
    every_updates: int | None = None
    every_seconds: float | None = None

    name = "model_checkpoint"
    beside_fields = frozenset(("check_place",))
    saves = True

    def __post_init__(self) -> None:
        check_path(self.path)
        self.require_flag("resumable")
        if self.keep is not None:
            self.require_integer("keep")
            if "{" not in str(self.path):
                raise ArgumentError("keep: needs {epoch} or {updates} in the path")
        if self.every_updates is not None:
            self.require_integer("every_updates")
        if self.every_seconds is not None:
            self.require_number("every_seconds", above=0)
        if self._within_epochs and (not self.resumable or self.monitor is not None):
            raise ArgumentError(
                "every_updates and every_seconds: need resumable=True and no monitor; a place "
                "within an epoch is only good for going on from there"
            )
        check_mode(self.mode)
        self._written_at, self._due = 0.0, False
        self.check_place: Callable[[Path], None] = lambda path: None
        """Raises an error if a file may not be written."""

    @property
    def _within_epochs(self) -> bool:
        return self.every_updates is not None or self.every_seconds is not None

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        self._written_at, self._due = time.monotonic(), False
        NumberedFiles(self.path).remove_leftovers()
        if self.monitor is None:
            return
        self._rule = Best(self.monitor, monitored_direction(trainer, self.mode, self.monitor))
        self._best = BestSoFar()
        for row in trainer.history.rows if Path(self.path).exists() else ():
            if self.monitor in row:
                self._best.improves(self._rule, row[self.monitor])

    def on_updates_end(self, trainer: TrainerProtocol) -> None:
        if not self._within_epochs:
            return
        seconds = math.inf if self.every_seconds is None else self.every_seconds
        counted = self.every_updates is not None and trainer.updates % self.every_updates == 0
        self._due |= counted or time.monotonic() - self._written_at >= seconds
        if self._due and trainer.is_sound():
            self._write(trainer)

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        if self.monitor is not None:
            value = monitored(logs, self.monitor)
            if not self._best.improves(self._rule, value):
                return
        self._write(trainer)

    def on_interruption(self, trainer: TrainerProtocol) -> None:
        if self.resumable and self.monitor is None and trainer.is_sound():
            self._write(trainer)

    def _write(self, trainer: TrainerProtocol) -> None:
        files = NumberedFiles(self.path)
        path = files.path(trainer.epoch, trainer.updates)
        self.check_place(path)
        make_folder(path.parent)
        if self.resumable:
            trainer.save_checkpoint(path)
        else:
            trainer.model.save(path)
        self._written_at, self._due = time.monotonic(), False
        if self.keep is not None:
            files.remove_oldest(path, self.keep)


def check_path(path: Any) -> None:
    """Raise an ArgumentTypeError unless this can name a file."""
    if not isinstance(path, (str, Path)) or not str(path):
        raise ArgumentTypeError(f"path: expected the name of a file; got {path!r}")
    checked_path(path)


def monitored_direction(trainer: TrainerProtocol, mode: str, monitor: str) -> str:
    """Return "min" or "max" for the name of a log, or raise an ArgumentError if there is none."""
    monitored(dict.fromkeys(trainer.log_names, 0.0), monitor)
    return direction(mode, monitor, trainer.larger_is_better)
