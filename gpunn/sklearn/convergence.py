"""scikit-learn's rules after each epoch: when to stop, and how to change the learning rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpunn.schedules import Schedule

SMALLEST_RATE = 1e-6


class LearningRate(Schedule):
    def __init__(self, rate: float) -> None:
        self.rate = float(rate)

    def at(self, time: np.ndarray, duration: float) -> np.ndarray:
        return np.full_like(time, self.rate)


class Convergence:
    """Stores the progress of training, and decides whether training continues.

    The criterion is the training loss or, with early stopping, the validation score. After more
    than `patience` epochs in a row without an improvement by `tol`, training stops, or an adaptive
    learning rate is divided by 5. With a custom optimizer or schedule, `rate` is None.
    """

    def __init__(self, estimator: Any, rows: int, rate: LearningRate | None, mode: str) -> None:
        def earlier(name: str, otherwise: Any) -> Any:
            value = getattr(estimator, name, None)
            return otherwise if value is None else value

        self.tol = float(estimator.tol)
        self.patience = float(estimator.n_iter_no_change)
        self.early_stopping = bool(estimator.early_stopping)
        self.verbose = bool(estimator.verbose)
        self.first_rate = float(estimator.learning_rate_init)
        self.power = float(estimator.power_t)
        self.rows, self.rate, self.mode = rows, rate, mode
        self.epochs, self.improved = 0, False
        self.rows_seen = int(earlier("t_", 0))
        self.loss_curve: list[float] = list(earlier("loss_curve_", ()))
        self.scores: list[float] = list(earlier("validation_scores_", ()))
        self.best_loss: float = earlier("best_loss_", math.inf)
        self.best_score: float = earlier("best_validation_score_", -math.inf)
        self.bad_epochs = int(earlier("_no_improvement_count", 0))

    def store(self, estimator: Any) -> None:
        estimator.n_iter_ = self.epochs
        estimator.t_ = self.rows_seen
        estimator.loss_curve_ = self.loss_curve
        if self.epochs:
            estimator.loss_ = self.loss_curve[-1]
        estimator.best_loss_ = None if self.early_stopping else self.best_loss
        estimator.validation_scores_ = self.scores if self.early_stopping else None
        estimator.best_validation_score_ = self.best_score if self.early_stopping else None
        estimator._no_improvement_count = self.bad_epochs

    def observe(self, loss: float, score: float | None) -> str:
        self.epochs += 1
        self.rows_seen += self.rows
        self.loss_curve.append(loss)
        if self.verbose:
            print(f"Iteration {self.epochs}, loss = {loss:.8f}")
        if self.early_stopping:
            assert score is not None
            self._judge_score(score)
        else:
            self._judge_loss(loss)
        if self.rate is not None and self.mode == "invscaling":
            self.rate.rate = self.first_rate / (self.rows_seen + 1) ** self.power
        return self._verdict() if self.bad_epochs > self.patience else ""

    def _judge_loss(self, loss: float) -> None:
        self.bad_epochs = self.bad_epochs + 1 if loss > self.best_loss - self.tol else 0
        if loss < self.best_loss:  # never if it is NaN
            self.best_loss = loss

    def _judge_score(self, score: float) -> None:
        self.scores.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        self.bad_epochs = self.bad_epochs + 1 if score < self.best_score + self.tol else 0
        self.improved = score > self.best_score
        if self.improved:
            self.best_score = score

    def _verdict(self) -> str:
        what = (
            f"Validation score did not improve more than tol={self.tol:f}"
            if self.early_stopping
            else f"Training loss did not improve more than tol={self.tol:f}"
        )
        reason = f"{what} for {self.patience:.0f} consecutive epochs."
        if self.rate is not None and self.mode == "adaptive":
            if self.rate.rate > SMALLEST_RATE:
                self.rate.rate /= 5.0
                self.bad_epochs = 0
                if self.verbose:
                    print(f"{reason} Setting learning rate to {self.rate.rate:f}")
                return ""
            reason += " Learning rate too small."
        if self.verbose:
            print(f"{reason} Stopping.")
        return reason
