"""Metrics of the confusion matrix: precision, recall and F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpunn.configurable import number
from gpunn.errors import ArgumentError, DataError, suggest
from gpunn.losses import one_hot
from gpunn.metrics.base import LabelMetric, true_class
from gpunn.typing import Array, Namespace

AVERAGES = ("binary", "macro", "micro")


@dataclass(frozen=True)
class CountMetric(LabelMetric):
    """Base of ratios of the weighted counts TP, FP and FN.

    Names and results are the same as in scikit-learn. "macro" omits classes that occur neither in
    the targets nor in the predictions. For each class, the summary has three sums of weights: TP,
    TP + FP (rows predicted to belong to the class), and TP + FN (rows of the class).

    With binary cross-entropy and more than one output, the task is multilabel: each output is the
    logit of one label. In this task, "macro" includes all labels.

    Parameters
    ----------
    average : {"binary", "macro", "micro"}
        With "binary", for one or two outputs, the result is the metric of class 1 ("yes"). With
        "macro", the result is the mean of the classes' metrics. With "micro", TP, FP and FN are
        first summed over the classes.
    threshold : float
        With one or two outputs, class 1 is predicted if its logit is larger than the threshold.
        With two outputs, the logit of class 1 is the difference of the outputs. With more outputs,
        the class of the largest output is predicted.
    zero_division : float
        The result, from 0 to 1, if the denominator is 0.
    """

    average: str = "binary"
    threshold: float = number(0.0)
    zero_division: float = number(0.0, at_least=0, at_most=1)

    larger_is_better = True
    leaves_out: ClassVar[bool] = True
    """Whether "macro" omits classes that never occur. As in scikit-learn, labels are not
    omitted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average not in AVERAGES:
            raise ArgumentError(
                f"average: there is no {self.average!r}; {suggest(str(self.average), AVERAGES)}"
            )

    def size(self, outputs: int) -> int:
        return 3 * max(outputs, 2)

    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        super().check_targets(targets, outputs)
        if outputs > 2 and self.average == "binary":
            raise DataError(
                f"metric {self.name!r} with average='binary' is for two classes, but the network "
                f"has {outputs}; use average='macro' or 'micro'"
            )
        if outputs > 2 and self.threshold:
            raise DataError(
                f"metric {self.name!r} supports a threshold only for one or two outputs, but the "
                f"network has {outputs}; set threshold to 0"
            )

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        classes, dtype = predictions.shape[1], predictions.dtype
        if classes > 2:
            predicted = one_hot(xp, xp.argmax(predictions, axis=1), classes, dtype)
            actual = one_hot(xp, true_class(xp, targets), classes, dtype)
        else:
            yes = predictions[:, -1] - predictions[:, 0] if classes == 2 else predictions[:, 0]
            predicted = two_columns(xp, xp.astype(yes > self.threshold, dtype))
            actual = two_columns(xp, xp.astype(is_yes(xp, targets), dtype))
        predicted = weights[:, None] * predicted
        tp = xp.sum(predicted * actual, axis=0)
        actual = xp.sum(weights[:, None] * actual, axis=0)
        return xp.concat((tp, xp.sum(predicted, axis=0), actual))

    def result(self, summary: np.ndarray, weight: float) -> float:
        tp, predicted, actual = summary.reshape(3, -1)
        if self.average == "binary":
            tp, predicted, actual = tp[1:2], predicted[1:2], actual[1:2]
        elif self.average == "micro":
            sums = tp.sum(), predicted.sum(), actual.sum()
            tp, predicted, actual = (np.array([each]) for each in sums)
        elif self.leaves_out:
            occurs = predicted + actual > 0
            tp, predicted, actual = tp[occurs], predicted[occurs], actual[occurs]
        numerator, denominator = self.fraction(tp, predicted, actual)
        defined = denominator > 0
        values = np.where(
            defined, numerator / np.where(defined, denominator, 1), self.zero_division
        )
        return float(values.mean())

    def fraction(
        self, tp: np.ndarray, predicted: np.ndarray, actual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the numerator and the denominator of each class's ratio.

        Parameters
        ----------
        tp, predicted, actual : ndarray, shape (classes,)
            TP, TP + FP and TP + FN: weighted counts of rows.

        Returns
        -------
        numerator, denominator : ndarray, shape (classes,)
            One value for each class.
        """
        raise NotImplementedError(f"{type(self).__name__} must define fraction")


def two_columns(xp: Namespace, yes: Array) -> Array:
    return xp.stack((1 - yes, yes), axis=1)


def is_yes(xp: Namespace, targets: Array) -> Array:
    """Return Booleans, shape (rows,): whether the row belongs to the second of two classes."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        return targets[:, 0] > 0.5
    return true_class(xp, targets) == 1


@dataclass(frozen=True)
class Precision(CountMetric):
    """Fraction of correct rows among the rows predicted to belong to a class: TP / (TP + FP).

    Parameters
    ----------
    zero_division : float
        The result, from 0 to 1, if no row is predicted to belong to the class.

    Examples
    --------
    >>> gpunn.metrics.Precision(average="macro").config()
    {'name': 'precision', 'average': 'macro', 'threshold': 0.0, 'zero_division': 0.0}
    """

    name = "precision"

    def fraction(
        self, tp: np.ndarray, predicted: np.ndarray, actual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return tp, predicted


@dataclass(frozen=True)
class Recall(CountMetric):
    """Fraction of a class's rows that are predicted correctly: TP / (TP + FN).

    Parameters
    ----------
    zero_division : float
        The result, from 0 to 1, if no row belongs to the class.

    Examples
    --------
    >>> gpunn.metrics.Recall(threshold=-1.0).config()
    {'name': 'recall', 'average': 'binary', 'threshold': -1.0, 'zero_division': 0.0}
    """

    name = "recall"

    def fraction(
        self, tp: np.ndarray, predicted: np.ndarray, actual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return tp, actual


@dataclass(frozen=True)
class F1(CountMetric):
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN).

    See van Rijsbergen 1979, "Information Retrieval", chapter 7.

    Parameters
    ----------
    zero_division : float
        The result, from 0 to 1, if the ratio's denominator is 0.

    Examples
    --------
    Two rows are predicted to belong to class 1: one correctly, one wrongly:

    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 1, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(
    ...     model, "binary_cross_entropy", metrics=["precision", "recall", "f1"]
    ... )
    >>> logs = trainer.evaluate([[2.0], [2.0], [-2.0]], [1, 0, 0])
    >>> logs["precision"], logs["recall"], round(logs["f1"], 3)
    (0.5, 1.0, 0.667)
    """

    name = "f1"

    def fraction(
        self, tp: np.ndarray, predicted: np.ndarray, actual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return 2 * tp, predicted + actual
