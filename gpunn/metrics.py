"""Metrics, computed on the device beside the loss.

A metric turns each batch into a short vector, its summary. Summaries of batches combine into the
summary of an epoch (on the device, and over report windows on the host in float64), and the host
turns that into the figure it reports. A new metric is a subclass with `measure` and `result`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gpunn.configurable import Configurable, missing_class
from gpunn.errors import DataError
from gpunn.typing import Array, Namespace

__all__ = [
    "R2",
    "Accuracy",
    "BinaryAccuracy",
    "MeanAbsoluteError",
    "Metric",
    "RootMeanSquaredError",
    "TopKAccuracy",
]


class Metric(Configurable):
    """A figure over all rows of a data set, weighted by the sample weights.

    Attributes
    ----------
    larger_is_better : bool or None
        Which way is better, for whatever looks for the best epoch. None is unknown: whoever
        monitors the metric then has to give a mode.
    """

    larger_is_better: ClassVar[bool | None] = None

    def size(self, outputs: int) -> int:
        """Return the length of the summary for a network with this many outputs."""
        return 1

    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        """Refuse targets that this metric can't judge; by default it takes all.

        Parameters
        ----------
        targets : ndarray
            As the loss takes them, of shape (rows, outputs) or, for class labels, (rows,).
        outputs : int
            Number of the network's outputs.

        Raises
        ------
        DataError
            If the metric needs numbers and gets class labels, or the other way round.
        """

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        """Return the summary of one batch.

        Parameters
        ----------
        predictions : array, shape (rows, outputs)
        targets : array
            As the loss takes them: (rows,) integer labels or (rows, outputs).
        weights : array, shape (rows,)
            Sample weights.
        """
        raise NotImplementedError(f"{type(self).__name__} must define measure")

    def combine(self, xp: Namespace, first: Array, second: Array) -> Array:
        """Return the summary of two batches taken together; a summary of zeros is of no rows."""
        return first + second

    def result(self, summary: np.ndarray, weight: float) -> float:
        """Return the figure, from the combined summary and the sum of all sample weights."""
        return float(summary[0] / weight)


class ClassMetric(Metric):
    """A metric that compares the outputs of a row, one for each class."""

    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        if outputs < 2:
            raise DataError(
                f"metric {self.name!r} compares outputs, one a class, but the network has only 1; "
                "use 'binary_accuracy'"
            )


class ValueMetric(Metric):
    """A metric that compares each output with a target of its own."""

    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        if targets.ndim == 1:
            raise DataError(
                f"metric {self.name!r} compares numbers, but y holds class labels; "
                "use 'accuracy' or 'top_k_accuracy'"
            )


def true_class(xp: Namespace, targets: Array) -> Array:
    """Return integer labels, shape (rows,), from labels or from rows of probabilities."""
    return targets if targets.ndim == 1 else xp.argmax(targets, axis=1)


def weighted_sum(xp: Namespace, values: Array, weights: Array) -> Array:
    """Return sum_i weights_i * values_i, shape (1,)."""
    return xp.sum(xp.astype(values, weights.dtype) * weights, keepdims=True)


@dataclass(frozen=True)
class Accuracy(ClassMetric):
    """Fraction of rows whose largest prediction is at the true class."""

    name = "accuracy"
    larger_is_better = True

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        correct = xp.argmax(predictions, axis=1) == true_class(xp, targets)
        return weighted_sum(xp, correct, weights)


@dataclass(frozen=True)
class TopKAccuracy(ClassMetric):
    """Fraction of rows with fewer than k predictions above that of the true class."""

    k: int = 5

    name = "top_k_accuracy"
    larger_is_better = True

    def __post_init__(self) -> None:
        self.require_integer("k")

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        labels = true_class(xp, targets)
        of_true = xp.take_along_axis(predictions, labels[:, None], axis=1)
        above = xp.sum(xp.astype(predictions > of_true, weights.dtype), axis=1)
        return weighted_sum(xp, above < self.k, weights)


@dataclass(frozen=True)
class BinaryAccuracy(ValueMetric):
    """Fraction of entries on the right side of the threshold, which is 0 for logits."""

    threshold: float = 0.0

    name = "binary_accuracy"
    larger_is_better = True

    def __post_init__(self) -> None:
        self.require_number("threshold")

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        correct = (predictions > self.threshold) == (targets > 0.5)
        return weighted_sum(xp, xp.mean(xp.astype(correct, weights.dtype), axis=1), weights)


@dataclass(frozen=True)
class MeanAbsoluteError(ValueMetric):
    """Mean of |prediction - target| over rows and outputs."""

    name = "mean_absolute_error"
    larger_is_better = False

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        return weighted_sum(xp, xp.mean(xp.abs(predictions - targets), axis=1), weights)


@dataclass(frozen=True)
class RootMeanSquaredError(ValueMetric):
    """Square root of the mean of (prediction - target)^2 over rows and outputs."""

    name = "root_mean_squared_error"
    larger_is_better = False

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        difference = predictions - targets
        return weighted_sum(xp, xp.mean(difference * difference, axis=1), weights)

    def result(self, summary: np.ndarray, weight: float) -> float:
        return float(np.sqrt(summary[0] / weight))


@dataclass(frozen=True)
class R2(ValueMetric):
    """Coefficient of determination, 1 - SSE / SST, averaged over the outputs.

    An output whose targets are all equal counts as 1 if it is predicted exactly, else as 0.

    Notes
    -----
    For each output the summary holds the targets' mean and sum of squared deviations, which
    combine by the formula of Chan, Golub & LeVeque (1983) without cancellation, and the sum of
    squared errors. Its layout is (weight, means, deviations, errors), of length 1 + 3 * outputs.
    """

    name = "r2"
    larger_is_better = True

    def size(self, outputs: int) -> int:
        return 1 + 3 * outputs

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        w = weights[:, None]
        weight = xp.sum(weights, keepdims=True)
        # Taken from the first row, equal targets have deviations of exactly 0.
        first = targets[0, :]
        shifted, error = targets - first, targets - predictions
        shift = xp.sum(w * shifted, axis=0) / positive(xp, weight)
        deviation = shifted - shift
        deviations = xp.sum(w * deviation * deviation, axis=0)
        errors = xp.sum(w * error * error, axis=0)
        return xp.concat((weight, first + shift, deviations, errors))

    def combine(self, xp: Namespace, first: Array, second: Array) -> Array:
        k = (first.shape[0] - 1) // 3
        weight = first[:1] + second[:1]
        share = second[:1] / positive(xp, weight)
        shift = second[1 : 1 + k] - first[1 : 1 + k]
        mean = first[1 : 1 + k] + share * shift
        sums = first[1 + k :] + second[1 + k :]
        deviations = sums[:k] + first[:1] * share * shift * shift
        return xp.concat((weight, mean, deviations, sums[k:]))

    def result(self, summary: np.ndarray, weight: float) -> float:
        _, deviations, errors = summary[1:].reshape(3, -1)
        constant = deviations == 0
        ratio = errors / np.where(constant, 1, deviations)
        return float(np.where(constant, errors == 0, 1 - ratio).mean())


def positive(xp: Namespace, weight: Array) -> Array:
    """Return `weight`, or 1 where it is 0, so that an empty sum can be divided by it."""
    return xp.where(weight > 0, weight, xp.ones_like(weight))


if not TYPE_CHECKING:  # else every name would be taken for one of this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Metric, name)
