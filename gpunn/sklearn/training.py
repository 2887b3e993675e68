"""Trains an estimator's network by epochs: gpunn's trainer under scikit-learn's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpunn.losses import Loss
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer
from gpunn.sklearn.convergence import Convergence, LearningRate
from gpunn.training.examples import Examples
from gpunn.training.interruption import Interruption
from gpunn.training.pace import Pace
from gpunn.training.position import Course
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

    def _recovery(self, step: TrainStep, training: Examples) -> Recovery | None:
        """Return nothing: what goes bad is neither explained nor undone."""

    def _learning_rates(self, updates: int, plan: int) -> np.ndarray:
        schedule = self.optimizer.schedule
        if isinstance(schedule, LearningRate):
            return np.full(updates, schedule.rate)
        return super()._learning_rates(updates, max(plan, self.duration))

    def _figure_names(self, validated: bool) -> list[str]:
        names = super()._figure_names(validated)
        if validated:
            names.insert(names.index("val_loss") + 1, "val_score")
        return names

    def _run_epoch(
        self,
        step: TrainStep,
        course: Course,
        training: Examples,
        validation: Examples | None,
        plan: int,
        progress: bool,
        interruption: Interruption,
        recovery: Recovery | None,
        pace: Pace,
    ) -> bool:
        early_stopping = self.convergence.early_stopping
        if early_stopping and self.best is None:
            self.best = self.snapshot()
        if not super()._run_epoch(
            *(step, course, training, validation, plan),
            *(progress, interruption, recovery, pace),
        ):
            return False
        row = self.history.rows[-1]
        self.stop_reason = self.convergence.observe(
            row["loss"], row.get("val_score"), training.rows
        )
        if early_stopping and self.convergence.improved:
            self.best = self.snapshot()
        return True

    def _evaluate(self, checked: Examples, batch_size: int) -> dict[str, float]:
        """Return the loss of the validation rows, and the score of the network's outputs."""
        batch_size = min(batch_size, checked.rows)
        evaluation, ops = self._prepared_evaluation(batch_size), self.model.backend
        statistics, outputs = evaluation.statistics, []
        statistics.reset()
        try:
            for piece in checked.pieces(batch_size):
                evaluation.load(piece)
                for start in range(0, piece.rows, batch_size):
                    rows = min(batch_size, piece.rows - start)
                    weights, total = evaluation.next_weights(rows)
                    predicted = evaluation.forward(rows, weights, total, None)[-1]
                    outputs.append(ops.to_host(predicted))
                    ops.add(total, statistics.weight_sum)
            statistics.collect()
        finally:
            evaluation.unload()
        figures: dict[str, Any] = statistics.result()
        if self.score is not None:
            figures["score"] = self.score(np.concatenate(outputs))
        return figures
