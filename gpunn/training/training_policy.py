"""Decisions of training that a subclass can change, such as learning rates and when to end."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from gpunn.errors import DivergenceError
from gpunn.schedules import Constant
from gpunn.training.trainer_protocol import TrainerProtocol


class TrainingPolicy:
    """The decisions of a `Trainer`. To change them, set `Trainer.policy` to another object.

    For each metric that `score` returns, `validation_metrics` says whether larger is better. If
    `finds_causes`, training keeps a copy of its state, to find the cause of a divergence.
    `reads_state` means that `observe` reads the network or the optimizer's state. An epoch's mean
    loss weights batches by their rows if `batch_means`, otherwise by their sums of sample weights.
    """

    validation_metrics: ClassVar[Mapping[str, bool | None]] = {}
    finds_causes: ClassVar[bool] = True
    reads_state: bool = True
    batch_means: bool = False

    def begin(self, trainer: TrainerProtocol) -> None:
        """Prepare for a call of `fit`, after the step is made and before any callback is called."""

    def orders(self, trainer: TrainerProtocol, rows: int, epochs: int) -> np.ndarray:
        """Return a random order of rows for each of the next epochs; shape (epochs, rows)."""
        model, numbers = trainer.model, range(trainer.epoch, trainer.epoch + epochs)
        orders: np.ndarray = model.backend.row_orders(model.seed, numbers, rows)
        return orders

    def mark_orders(self) -> None:
        """Store the state for `undo_orders`, before the orders of several epochs are drawn.

        If a subclass defines `orders` without this method, networks train one epoch at a time.
        """

    def undo_orders(self, count: int) -> None:
        """Restore the state before the last `count` orders that were drawn since `mark_orders`."""

    def learning_rates(self, trainer: TrainerProtocol, updates: int, duration: int) -> np.ndarray:
        """Return the learning rates of the next epoch; training lasts `duration` epochs."""
        return trainer.optimizer.schedule.over_epoch(trainer.epoch, updates, duration)

    def has_constant_rate(self, trainer: TrainerProtocol) -> bool:
        """Return whether all epochs of this call of `fit` have the same learning rates."""
        own = type(self).learning_rates is not TrainingPolicy.learning_rates
        return type(trainer.optimizer.schedule) is Constant and not own

    def score(self, outputs: np.ndarray) -> dict[str, float]:
        """Return the `validation_metrics`, by name, from the outputs for all validation rows."""
        return {}

    def observe(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> str:
        """Process the logs of a finished epoch; return a reason to end training, or ""."""
        return ""

    def diverged(self, message: str) -> None:
        """Handle a loss or state that is not finite; by default, raise a DivergenceError."""
        raise DivergenceError(message)
