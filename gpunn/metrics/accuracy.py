"""Accuracies: the fraction of rows, or of entries, that are predicted correctly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpunn.configurable import integer, number
from gpunn.losses import refuse_rows
from gpunn.metrics.base import ClassMetric, ValueMetric, true_class, weighted_sum
from gpunn.typing import Array, Namespace


class OneClassMetric(ClassMetric):
    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        super().check_targets(targets, outputs)
        if targets.ndim == 2 and ((targets == 0) | (targets == 1)).all():
            advice = ". For multilabel targets use 'binary_accuracy'"
            needs = f"metric {self.name!r} needs one class per row"
            refuse_rows(targets.sum(axis=1) != 1, targets, needs, of=" of y", advice=advice)


@dataclass(frozen=True)
class Accuracy(OneClassMetric):
    """Fraction of rows whose largest prediction is for the true class.

    If several predictions are equally large, the first of them counts as the largest.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 2, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(model, "softmax_cross_entropy", metrics=["accuracy"])
    >>> trainer.evaluate([[2.0, 1.0], [0.0, 3.0]], [0, 0])["accuracy"]
    0.5
    """

    name = "accuracy"
    larger_is_better = True

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        correct = xp.argmax(predictions, axis=1) == true_class(xp, targets)
        return weighted_sum(xp, correct, weights)


@dataclass(frozen=True)
class TopKAccuracy(OneClassMetric):
    """Fraction of rows whose true class is among the k largest predictions.

    A row is correct if fewer than k predictions are larger than the prediction of the true class.

    Parameters
    ----------
    k : int
        How many of the largest predictions count; at least 1, by default 5.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 3, backend="numpy")  # predicts X
    >>> top_2 = gpunn.metrics.TopKAccuracy(k=2)
    >>> trainer = gpunn.Trainer(model, "softmax_cross_entropy", metrics=[top_2])
    >>> trainer.evaluate([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]], [1, 2])["top_k_accuracy"]
    0.5
    """

    k: int = integer(5)

    name = "top_k_accuracy"
    larger_is_better = True

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        labels = true_class(xp, targets)
        of_true = xp.take_along_axis(predictions, labels[:, None], axis=1)
        above = xp.sum(xp.astype(predictions > of_true, weights.dtype), axis=1)
        return weighted_sum(xp, above < self.k, weights)


@dataclass(frozen=True)
class BinaryAccuracy(ValueMetric):
    """Fraction of entries on the correct side of the threshold.

    Parameters
    ----------
    threshold : float
        Above the threshold, class 1 ("yes") is predicted. The threshold 0 for logits means a
        probability of 1/2.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 1, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(model, "binary_cross_entropy", metrics=["binary_accuracy"])
    >>> trainer.evaluate([[-1.0], [2.0]], [0, 0])["binary_accuracy"]
    0.5
    """

    threshold: float = number(0.0)

    name = "binary_accuracy"
    larger_is_better = True

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        correct = (predictions > self.threshold) == (targets > 0.5)
        return weighted_sum(xp, xp.mean(xp.astype(correct, weights.dtype), axis=1), weights)
