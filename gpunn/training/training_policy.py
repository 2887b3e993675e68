"""What a training loop leaves open: order, learning rates, when to stop, what divergence means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from gpunn.errors import DivergenceError
from gpunn.training.batches.shuffling import shuffled_order
from gpunn.training.trainer_protocol import TrainerProtocol

__all__ = ["TrainingPolicy"]


class TrainingPolicy:
    """The decisions of `Trainer`; a subclass decides otherwise (`Trainer.policy`).

    Attributes
    ----------
    validation_metrics : mapping of str to bool or None
        Names of what `score` computes from the outputs for the validation rows, and whether larger
        is better.
    finds_causes : bool
        Whether the cause of a divergence is looked for, which takes a copy of the training state.
    batch_means : bool
        Whether each batch counts by its number of rows in an epoch's loss, and not by the sum of
        their sample weights.
    """

    validation_metrics: ClassVar[Mapping[str, bool | None]] = {}
    finds_causes: ClassVar[bool] = True
    batch_means: bool = False

    def begin(self, trainer: TrainerProtocol) -> None:
        """Prepare a call of `fit`; the step is ready, and no callback was called yet."""

    def order(self, trainer: TrainerProtocol, rows: int) -> np.ndarray:
        """Return the order in which the next epoch visits its rows, if it shuffles them."""
        return shuffled_order(trainer.model.seed, trainer.epoch, rows)

    def learning_rates(self, trainer: TrainerProtocol, updates: int, duration: int) -> np.ndarray:
        """Return the learning rates of the next epoch; training lasts `duration` epochs."""
        return trainer.optimizer.schedule.over_epoch(trainer.epoch, updates, duration)

    def score(self, outputs: np.ndarray) -> dict[str, float]:
        """Return the `validation_metrics` of the network's outputs for all validation rows."""
        return {}

    def observe(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> str:
        """Take note of an epoch that has ended; return why training should end, or nothing."""
        return ""

    def diverged(self, message: str) -> None:
        """Decide what happens when something is not a finite number."""
        raise DivergenceError(message)
