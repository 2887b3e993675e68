"""Built-in metrics in faster forms, without large temporaries.

For each: `measure(metric, p, t, weights, scratch)` returns the summary of a batch, a vector or a
number. Predictions p are (rows, outputs); targets t too, or labels (rows,); weights (rows,). The
mathematics is in `gpunn.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import array_api_compat.numpy as xp
import numpy as np

from gpunn import metrics
from gpunn.backends.numpy.losses import mean_over_outputs, positions_of
from gpunn.backends.numpy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["MEASURE"]

BOOL, INTEGER = np.dtype(np.bool), np.dtype(np.intp)


def labels_of(t: Array, scratch: Scratch) -> Array:
    """Return integer labels, from labels or from rows of probabilities."""
    if t.ndim == 1:
        return t
    labels = scratch("labels", (t.shape[0],), INTEGER)
    np.argmax(t, axis=1, out=labels)
    return labels


def weighted_sum(values: Array, weights: Array, scratch: Scratch) -> Array:
    """Return sum_i weights_i * values_i, for numbers or truth values."""
    numbers = scratch("numbers", values.shape, weights.dtype)
    numbers[...] = values
    return np.vecdot(numbers, weights)


def weighted_mean(terms: Array, weights: Array, scratch: Scratch) -> Array:
    """Return sum_i weights_i * mean_j terms_ij."""
    means = scratch("means", weights.shape, terms.dtype)
    mean_over_outputs(means, terms)
    return np.vecdot(means, weights)


def accuracy(metric: Any, p: Array, t: Array, weights: Array, scratch: Scratch) -> Array:
    guesses = scratch("guesses", weights.shape, INTEGER)
    correct = scratch("correct", weights.shape, BOOL)
    np.argmax(p, axis=1, out=guesses)
    np.equal(guesses, labels_of(t, scratch), out=correct)
    return weighted_sum(correct, weights, scratch)


def top_k_accuracy(metric: Any, p: Array, t: Array, weights: Array, scratch: Scratch) -> Array:
    rows, classes = p.shape
    of_true = scratch("of_true", (rows, 1), p.dtype)
    positions = positions_of(labels_of(t, scratch), classes, scratch)
    np.take(p.reshape(-1), positions, out=of_true[:, 0], mode="clip")
    above = scratch("above", p.shape, BOOL)
    np.greater(p, of_true, out=above)
    numbers = scratch("above", p.shape, p.dtype)
    numbers[...] = above
    count = scratch("count", (rows,), p.dtype)
    np.add.reduce(numbers, axis=1, out=count)
    correct = scratch("correct", (rows,), BOOL)
    np.less(count, metric.k, out=correct)
    return weighted_sum(correct, weights, scratch)


def binary_accuracy(metric: Any, p: Array, t: Array, weights: Array, scratch: Scratch) -> Array:
    guesses = scratch("guesses", p.shape, BOOL)
    truth = scratch("truth", p.shape, BOOL)
    np.greater(p, metric.threshold, out=guesses)
    np.greater(t, 0.5, out=truth)
    np.equal(guesses, truth, out=truth)
    correct = scratch("correct", p.shape, p.dtype)
    correct[...] = truth
    return weighted_mean(correct, weights, scratch)


def mean_absolute_error(metric: Any, p: Array, t: Array, weights: Array, scratch: Scratch) -> Array:
    d = scratch("difference", p.shape, p.dtype)
    np.subtract(p, t, out=d)
    np.abs(d, out=d)
    return weighted_mean(d, weights, scratch)


def mean_squared_error(metric: Any, p: Array, t: Array, weights: Array, scratch: Scratch) -> Array:
    d = scratch("difference", p.shape, p.dtype)
    np.subtract(p, t, out=d)
    d *= d
    return weighted_mean(d, weights, scratch)


def r2(metric: Any, p: Array, t: Array, weights: Array, scratch: Scratch) -> Array:
    outputs = p.shape[1]
    summary = scratch("summary", (1 + 3 * outputs,), p.dtype)
    mean, deviations, errors = summary[1:].reshape(3, outputs)
    np.add.reduce(weights, out=summary[:1], keepdims=True)
    total = float(summary[0])
    d = scratch("difference", p.shape, p.dtype)
    np.subtract(t, t[0], out=d)
    np.matmul(weights, d, out=mean)
    mean /= total if total > 0 else 1.0
    d -= mean
    d *= d
    np.matmul(weights, d, out=deviations)
    mean += t[0]
    np.subtract(t, p, out=d)
    d *= d
    np.matmul(weights, d, out=errors)
    return summary


Measure: TypeAlias = Callable[[Any, Array, Array, Array, Scratch], Array]


def auc(metric: Any, p: Array, t: Array, weights: Array, scratch: Scratch) -> Array:
    place, truth = metric.bin_indices(xp, p, t)
    bins, classes = metric.side**2, place.shape[1]
    counted = place == place  # NaN is in no bin
    numbers = (place + bins * np.arange(classes))[counted].astype(np.intp)
    of_class = (weights[:, None] * truth)[counted]
    of_others = (weights[:, None] * (1 - truth))[counted]
    counts = [
        np.bincount(numbers, each, classes * bins).reshape(classes, 1, bins)
        for each in (of_class, of_others)
    ]
    return np.concatenate(counts, axis=1).reshape(-1)


MEASURE: dict[type[metrics.Metric], Measure] = {
    metrics.Accuracy: accuracy,
    metrics.TopKAccuracy: top_k_accuracy,
    metrics.BinaryAccuracy: binary_accuracy,
    metrics.MeanAbsoluteError: mean_absolute_error,
    metrics.RootMeanSquaredError: mean_squared_error,
    metrics.R2: r2,
    metrics.AUC: auc,
}
