"""Metrics of regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpunn.metrics.base import ValueMetric, weighted_sum
from gpunn.typing import Array, Namespace


@dataclass(frozen=True)
class MeanAbsoluteError(ValueMetric):
    """Mean of |prediction - target| over rows and outputs.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 1, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", metrics=["mean_absolute_error"])
    >>> trainer.evaluate([[1.0], [2.0]], [1.0, 5.0])["mean_absolute_error"]
    1.5
    """

    name = "mean_absolute_error"
    larger_is_better = False

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        return weighted_sum(xp, xp.mean(xp.abs(predictions - targets), axis=1), weights)


@dataclass(frozen=True)
class RootMeanSquaredError(ValueMetric):
    """Square root of the mean of (prediction - target)^2 over rows and outputs.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 1, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", metrics=["root_mean_squared_error"])
    >>> trainer.evaluate([[1.0], [2.0]], [4.0, 5.0])["root_mean_squared_error"]
    3.0
    """

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

    SSE is the sum of squared errors, and SST is the targets' total sum of squares. If all targets
    of an output are equal, its R2 is 1 for exact predictions, otherwise 0.

    The summary is (weight, means, SSTs, SSEs), of length 3 * outputs + 1. The formula of Chan,
    Golub & LeVeque (1983) merges the means and SSTs of two batches and avoids cancellation.

    Examples
    --------
    If every prediction is the mean of the targets, R2 is 0:

    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 1, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", metrics=["r2"])
    >>> trainer.evaluate([[2.0], [2.0]], [1.0, 3.0])["r2"]
    0.0
    """

    name = "r2"
    larger_is_better = True

    def size(self, outputs: int) -> int:
        return 1 + 3 * outputs

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        w = weights[:, None]
        weight = xp.sum(weights, keepdims=True)
        # With the first row subtracted, equal targets give an SST of exactly 0.
        first = targets[0, :]
        shifted, error = targets - first, targets - predictions
        shift = xp.sum(w * shifted, axis=0) / positive(xp, weight)
        centered = shifted - shift
        sst = xp.sum(w * centered * centered, axis=0)
        sse = xp.sum(w * error * error, axis=0)
        return xp.concat((weight, first + shift, sst, sse))

    def combine(self, xp: Namespace, first: Array, second: Array) -> Array:
        k = (first.shape[0] - 1) // 3
        weight = first[:1] + second[:1]
        fraction = second[:1] / positive(xp, weight)
        shift = second[1 : 1 + k] - first[1 : 1 + k]
        mean = first[1 : 1 + k] + fraction * shift
        sums = first[1 + k :] + second[1 + k :]
        sst = sums[:k] + first[:1] * fraction * shift * shift
        return xp.concat((weight, mean, sst, sums[k:]))

    def result(self, summary: np.ndarray, weight: float) -> float:
        _, sst, sse = summary[1:].reshape(3, -1)
        constant = sst == 0
        ratio = sse / np.where(constant, 1, sst)
        return float(np.where(constant, sse == 0, 1 - ratio).mean())


def positive(xp: Namespace, weight: Array) -> Array:
    return xp.where(weight > 0, weight, xp.ones_like(weight))
