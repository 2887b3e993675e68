"""Early stopping: end training when a metric stops improving, and restore the best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

from gpunn.configurable import check_integer, choice, flag, number
from gpunn.monitor import Best, BestSoFar, check_monitor, monitored
from gpunn.training.callbacks.base import Callback, monitored_direction
from gpunn.training.trainer_protocol import TrainerProtocol

CYCLE = "cycle"

MIN_CYCLE = 8
"""Minimum epochs of a cycle that is compared with the next; ends of shorter cycles are chance."""


def check_patience(name: str, value: Any) -> int | str:
    return CYCLE if value == CYCLE else check_integer(name, value)


@dataclass(eq=False)
class EarlyStopping(Callback):
    """End training when a metric stops improving, and restore the best epoch.

    Each call of `fit` ignores the epochs of earlier calls. But a resumed call
    (`fit(resume_from=...)`) also considers the epochs before the interruption. Parameters and
    optimizer are restored, but the history keeps all epochs.

    Parameters
    ----------
    monitor : str
        Name of a value logged after each epoch, such as "val_loss" or "val_accuracy".
    mode : {"auto", "min", "max"}
        Whether smaller ("min") or larger ("max") values are better. "auto" uses
        `Metric.larger_is_better` for metrics, and "min" for losses.
    patience : int or "cycle"
        Epochs without improvement before training ends, at least 1. With "cycle", training ends if
        the value at the end of a cycle of the learning rate (as in `CosineLog`) is worse than at
        the end of the previous cycle. A cycle of fewer than 8 epochs is not compared with the next
        cycle.
    min_delta : float
        A change counts as an improvement only if it is larger than this number.
    restore_best : bool
        Whether to restore the parameters and the optimizer of the best epoch when training ends,
        whatever the reason.
    ties : {"first", "last"}
        Which of several equally good epochs is the best. With "last", an improvement by exactly
        `min_delta` also counts.

    Attributes
    ----------
    best : float
        The best value; NaN before training.
    best_epoch : int
        The number of the epoch with the best value; the first epoch is 1.

    Raises
    ------
    ArgumentError
        When training begins, if no log has the name `monitor`, or if `mode` is "auto" and the
        metric's `larger_is_better` is None.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Dense(1, initializer="zeros")], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.0))
    >>> stop = gpunn.callbacks.EarlyStopping(monitor="loss", patience=2)
    >>> history = trainer.fit([[1.0]], [1.0], epochs=9, callbacks=[stop], progress=False)
    >>> len(history["loss"]), history.stopped
    (3, 'loss has not improved since epoch 1 (0.562321)')
    """

    reads_only: ClassVar[bool] = True
    monitor: str = "val_loss"
    mode: str = "auto"
    patience: int | str = field(default=10, metadata={"check": check_patience})
    min_delta: float = number(0.0, at_least=0)
    restore_best: bool = flag(True)
    ties: str = choice("first", ("first", "last"))

    name = "early_stopping"
    extra_attributes = frozenset(("best", "best_epoch"))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_monitor(self.monitor, self.mode)
        self._direction, self.best, self.best_epoch = "", math.nan, 0
        self._search, self._cycle_value = BestSoFar(), math.nan
        self._snapshot: Any = None

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        self._direction = monitored_direction(trainer, self.mode, self.monitor)
        self.best, self.best_epoch = self.rule.start, trainer.epoch
        self._search, self._cycle_value = BestSoFar(), self.rule.start
        self._snapshot = None

    @property
    def rule(self) -> Best:
        """The rule that selects the best epoch; it is available after training has begun."""
        return Best(self.monitor, self._direction, self.min_delta, self.ties)

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        value = monitored(logs, self.monitor)
        if self._search.improves(self.rule, value):
            self.best, self.best_epoch = value, trainer.epoch
            if self.restore_best:
                self._snapshot = trainer.snapshot()
        if self.patience == CYCLE and trainer.epoch < trainer.last_epoch:
            self._end_cycle(trainer, value)
        self._stop_if_due(trainer)

    def _end_cycle(self, trainer: TrainerProtocol, value: float) -> None:
        ends = trainer.optimizer.schedule.cycle_ends(trainer.last_epoch)
        for start, end in pairwise([0.0, *ends]):
            if trainer.epoch == round(end):
                before = self._cycle_value
                if not self.rule.improved(value, before):
                    trainer.stop_reason = (
                        f"{self.monitor} is worse than after the previous cycle of the learning "
                        f"rate ({before:.6g})"
                    )
                self._cycle_value = value if end - start >= MIN_CYCLE else self.rule.start

    def _stop_if_due(self, trainer: TrainerProtocol) -> None:
        if self.patience != CYCLE and self._search.waited >= float(self.patience):
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
            "cycle_value": self._cycle_value,
            **arrays,
        }

    def restore(self, state: Mapping[str, Any], trainer: TrainerProtocol) -> None:
        if state.get("figure") != [self.monitor, self._direction]:
            return  # the checkpoint has no state for this callback and metric
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])
        self._search = BestSoFar(self.best, trainer.epoch - self.best_epoch)
        self._cycle_value = float(state.get("cycle_value", self.rule.start))
        if self.restore_best and "values" in state:
            self._snapshot = trainer.snapshot_from_host(state)
        # The resumed call may have a larger `patience`.
        if trainer.stop_reason == self._reason:
            trainer.stop_reason = ""
        self._stop_if_due(trainer)

    def on_train_end(self, trainer: TrainerProtocol) -> None:
        if self._snapshot is not None:
            trainer.restore(self._snapshot)
            self._snapshot = None
