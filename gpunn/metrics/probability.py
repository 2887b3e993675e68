"""Metrics of predicted probabilities, computed from logits."""

from __future__ import annotations

from dataclasses import dataclass

from gpunn.activations import sigmoid, softmax
from gpunn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy, one_hot
from gpunn.metrics.base import LabelMetric, weighted_sum
from gpunn.typing import Array, Namespace


@dataclass(frozen=True)
class LogLoss(LabelMetric):
    """Mean of -log(probability of the true class), from logits.

    With probabilities t as targets, the metric is the mean of -sum_j t_ij log p_ij: the
    cross-entropy loss without label smoothing and class weights. With binary cross-entropy and more
    than one output, the task is multilabel, and the metric is the mean of the labels' losses.

    Probabilities are not clipped: a logit of -1000 for the true class costs 1000.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 1, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(model, "binary_cross_entropy", metrics=["log_loss"])
    >>> round(trainer.evaluate([[0.0], [100.0]], [1, 0])["log_loss"], 2)
    50.35
    """

    name = "log_loss"
    larger_is_better = False

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        loss = BinaryCrossEntropy() if predictions.shape[1] == 1 else SoftmaxCrossEntropy()
        return weighted_sum(xp, loss.values(xp, predictions, targets), weights)


@dataclass(frozen=True)
class BrierScore(LabelMetric):
    """Mean squared error of the probabilities, from logits.

    See Brier 1950, "Verification of Forecasts Expressed in Terms of Probability". With two classes
    (one or two outputs), a row's error is (p_i - t_i)^2, where p is the probability of class 1
    ("yes"). With more classes, a row's error is sum_j (p_ij - t_ij)^2 over the classes. For binary
    cross-entropy with several outputs, the score is the mean of (p_ij - t_ij)^2 over the labels.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 1, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(model, "binary_cross_entropy", metrics=["brier_score"])
    >>> trainer.evaluate([[0.0], [0.0]], [1, 0])["brier_score"]
    0.25
    """

    name = "brier_score"
    larger_is_better = False

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        classes = predictions.shape[1]
        if classes == 1:
            distance = sigmoid(xp, predictions) - targets
        else:
            if targets.ndim == 1:
                targets = one_hot(xp, targets, classes, predictions.dtype)
            distance = softmax(xp, predictions) - targets
        squares = xp.sum(distance * distance, axis=1)
        return weighted_sum(xp, 0.5 * squares if classes == 2 else squares, weights)
