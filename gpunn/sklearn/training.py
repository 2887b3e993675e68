"""Trains an estimator's network by epochs: gpunn's trainer under scikit-learn's rules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpunn.losses import Loss
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer
from gpunn.sklearn.convergence import Convergence, LearningRate
from gpunn.training.dataset import Subset
from gpunn.training.recovery import Recovery
from gpunn.training.step import TrainStep
from gpunn.training.trainer import Snapshot, Trainer

__all__ = ["EstimatorTrainer", "Score"]

Score = Callable[[np.ndarray], float]
"""From the network's outputs for the validation rows to their score."""


class EstimatorTrainer(Trainer):
    """A trainer whose shuffles, stopping and learning rates are scikit-learn's.

    A loss that is not a finite number does not end training here: `fit` looks at the parameters
    when it is through.

    Parameters
    ----------
    model, loss, optimizer
        As for `gpunn.Trainer`.
    duration : int
        Epochs that a schedule should last, however few are trained at a time.

    Attributes
    ----------
    convergence : Convergence
        What decides; set before each call of `fit_examples`.
    random : numpy.random.RandomState
        Shuffles the rows; set before each call of `fit_examples`.
    score : callable or None
        Judges the outputs for the validation rows.
    best : Snapshot or None
        With early stopping: parameters and optimizer at the best score.
    """

    convergence: Convergence
    random: np.random.RandomState

    def __init__(self, model: Sequential, loss: Loss, optimizer: Optimizer, duration: int) -> None:
        super().__init__(model, loss, optimizer)
        self.duration = duration
        self.score: Score | None = None
        self.best: Snapshot | None = None
        self._order_so_far: np.ndarray | None = None

    def begin(
        self, convergence: Convergence, random: np.random.RandomState, score: Score | None
    ) -> None:
        """Prepare a call of `fit_examples`."""
        self.convergence, self.random, self.score = convergence, random, score
        self.best = self._order_so_far = None
        self.position = None  # its order is gone, so an epoch that was cut short is not ended

    def _order(self, rows: int) -> np.ndarray:
        # Each epoch shuffles the order of the one before, as `sklearn.utils.shuffle` does it.
        shuffled = np.arange(rows)
        self.random.shuffle(shuffled)
        if self._order_so_far is not None:
            shuffled = self._order_so_far[shuffled]
        self._order_so_far = shuffled
        return shuffled

    def _diverged(self, message: str) -> None:
        """Go on, as scikit-learn does."""

    def _recovery(self, step: TrainStep, training: Subset) -> Recovery | None:
        """Return nothing: what goes bad is neither explained nor undone."""

    def _learning_rates(self, updates: int, plan: int) -> np.ndarray:
        schedule = self.optimizer.schedule
        if isinstance(schedule, LearningRate):
            return np.full(updates, schedule.rate)
        return super()._learning_rates(updates, max(plan, self.duration))

    @property
    def larger_is_better(self) -> dict[str, bool | None]:
        return {**super().larger_is_better, "val_score": True}

    def _figure_names(self, validated: bool) -> list[str]:
        names = super()._figure_names(validated)
        if validated:
            names.insert(names.index("val_loss") + 1, "val_score")
        return names

    def _prepared_step(self, batch_size: int, rows: int | None = None) -> TrainStep:
        step = super()._prepared_step(batch_size, rows)
        if self.convergence.early_stopping:
            self.best = self.snapshot()  # until an epoch has the best score
        return step

    def _note(self, row: dict[str, float]) -> None:
        super()._note(row)
        self.stop_reason = self.convergence.observe(row["loss"], row.get("val_score"))
        if self.convergence.improved:
            self.best = self.snapshot()

    def _evaluate(
        self, checked: Subset, batch_size: int, outputs: list[np.ndarray] | None = None
    ) -> dict[str, float]:
        """Return the loss of the validation rows, and the score of the network's outputs."""
        outputs = [] if outputs is None else outputs
        figures = super()._evaluate(checked, batch_size, outputs)
        if self.score is not None:
            figures["score"] = self.score(np.concatenate(outputs))
        return figures
