"""The built-in metrics of one number, without temporaries.

For each: `measure(metric, p, t, values, scratch)` sets the rows' contributions before weighting.
The mathematics is in `gpunn.metrics`. R2, whose summary is longer, runs as defined there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gpunn import metrics
from gpunn.backends.numpy.losses import mean_over_outputs, positions_of
from gpunn.backends.numpy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["MEASURE"]


def labels_of(t: Array, scratch: Scratch) -> Array:
    """Return integer labels, from labels or from rows of probabilities."""
    if t.ndim == 1:
        return t
    labels = scratch("labels", (t.shape[0],), np.dtype(np.int64))
    np.argmax(t, axis=1, out=labels)
    return labels


def accuracy(metric: Any, p: Array, t: Array, values: Array, scratch: Scratch) -> None:
    guesses = scratch("guesses", (p.shape[0],), np.dtype(np.int64))
    correct = scratch("correct", (p.shape[0],), np.dtype(np.bool))
    np.argmax(p, axis=1, out=guesses)
    np.equal(guesses, labels_of(t, scratch), out=correct)
    values[...] = correct


def top_k_accuracy(metric: Any, p: Array, t: Array, values: Array, scratch: Scratch) -> None:
    rows, classes = p.shape
    of_true = scratch("of_true", (rows, 1), p.dtype)
    above = scratch("above", p.shape, np.dtype(np.bool))
    positions = positions_of(labels_of(t, scratch), classes, scratch)
    np.take(p.reshape(-1), positions, out=of_true[:, 0], mode="clip")
    np.greater(p, of_true, out=above)
    as_numbers = scratch("above_numbers", p.shape, p.dtype)
    as_numbers[...] = above
    np.add.reduce(as_numbers, axis=1, out=values)
    within = scratch("correct", (rows,), np.dtype(np.bool))
    np.less(values, metric.k, out=within)
    values[...] = within


def binary_accuracy(metric: Any, p: Array, t: Array, values: Array, scratch: Scratch) -> None:
    guesses = scratch("guesses", p.shape, np.dtype(np.bool))
    truth = scratch("truth", p.shape, np.dtype(np.bool))
    np.greater(p, metric.threshold, out=guesses)
    np.greater(t, 0.5, out=truth)
    np.equal(guesses, truth, out=truth)
    correct = scratch("correct", p.shape, p.dtype)
    correct[...] = truth
    mean_over_outputs(values, correct)


def mean_absolute_error(metric: Any, p: Array, t: Array, values: Array, scratch: Scratch) -> None:
    d = scratch("difference", p.shape, p.dtype)
    np.subtract(p, t, out=d)
    np.abs(d, out=d)
    mean_over_outputs(values, d)


def mean_squared_error(metric: Any, p: Array, t: Array, values: Array, scratch: Scratch) -> None:
    d = scratch("difference", p.shape, p.dtype)
    np.subtract(p, t, out=d)
    np.vecdot(d, d, out=values)
    values /= p.shape[1]


Measure: TypeAlias = Callable[[Any, Array, Array, Array, Scratch], None]

MEASURE: dict[type[metrics.Metric], Measure] = {
    metrics.Accuracy: accuracy,
    metrics.TopKAccuracy: top_k_accuracy,
    metrics.BinaryAccuracy: binary_accuracy,
    metrics.MeanAbsoluteError: mean_absolute_error,
    metrics.RootMeanSquaredError: mean_squared_error,
}
