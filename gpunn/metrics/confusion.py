"""Metrics from the confusion matrix: precision, recall and F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpunn.configurable import number
from gpunn.errors import ArgumentError, DataError, suggest
from gpunn.losses import one_hot
from gpunn.metrics.base import LabelMetric, true_class
from gpunn.typing import Array, Namespace

__all__ = ["F1", "Precision", "Recall"]

AVERAGES = ("binary", "macro", "micro")


@dataclass(frozen=True)
class CountMetric(LabelMetric):
    """Base of ratios of TP, FP and FN: weighted counts of rows, by class; `F1` has the parameters.

    Names and results are those of scikit-learn. As there, "macro" leaves out a class that occurs
    neither in the targets nor in the predictions. The summary holds three sums of weights for each
    class: TP, the rows predicted to be of the class (TP + FP), and those that are (TP + FN).

    Under binary cross-entropy several outputs are labels, each predicted by its own logit. Of them
    "macro" leaves out none.
    """

    average: str = "binary"
    threshold: float = number(0.0)
    zero_division: float = number(0.0, at_least=0, at_most=1)

    larger_is_better = True
    leaves_out: ClassVar[bool] = True
    """Whether "macro" leaves out what never occurs; labels stay, as in scikit-learn."""

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
                f"metric {self.name!r} is that of one class with average='binary', but the network "
                f"has {outputs}; choose average='macro' or 'micro'"
            )
        if outputs > 2 and self.threshold:
            raise DataError(
                f"metric {self.name!r} takes a threshold for one or two outputs; with {outputs} "
                "the largest is predicted, so leave threshold at 0"
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
        """Return numerator and denominator of the ratio.

        Parameters
        ----------
        tp, predicted, actual : ndarray, shape (classes,)
            TP, TP + FP and TP + FN: weighted counts of rows.

        Returns
        -------
        numerator, denominator : ndarray, shape (classes,)
            Of each class.
        """
        raise NotImplementedError(f"{type(self).__name__} must define fraction")


def two_columns(xp: Namespace, yes: Array) -> Array:
    """Return rows of (1 - yes, yes)."""
    return xp.stack((1 - yes, yes), axis=1)


def is_yes(xp: Namespace, targets: Array) -> Array:
    """Return which rows are of class 1 of two, shape (rows,), from any form of targets."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        return targets[:, 0] > 0.5
    return true_class(xp, targets) == 1


@dataclass(frozen=True)
class Precision(CountMetric):
    """Fraction of the rows predicted to be of a class that are: TP / (TP + FP).

    Parameters
    ----------
    average, threshold : as for `F1`
        What is averaged, and what is predicted: "binary" and 0 by default.
    zero_division : float
        In [0, 1]: the result where no row is predicted to be of the class.

    See Also
    --------
    F1 : Has an example.

    Examples
    --------
    >>> import gpunn
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
    """Fraction of the rows of a class that are predicted to be: TP / (TP + FN).

    Parameters
    ----------
    average, threshold : as for `F1`
        What is averaged, and what is predicted: "binary" and 0 by default.
    zero_division : float
        In [0, 1]: the result where no row is of the class.

    See Also
    --------
    F1 : Has an example.

    Examples
    --------
    >>> import gpunn
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

    `zero_division` where no row is of the class or predicted to be.

    See van Rijsbergen 1979, "Information Retrieval", chapter 7.

    Parameters
    ----------
    average : {"binary", "macro", "micro"}
        "binary" is the metric of class 1 ("yes"), for one or two outputs; "macro" the mean of the
        metrics of all classes; "micro" the metric of TP, FP and FN summed over the classes.
    threshold : float
        With one or two outputs: class 1 is predicted where its logit is larger; with two outputs
        the logit is the difference of the two. With more, the largest output is predicted.
    zero_division : float
        In [0, 1]: the result where the ratio's denominator is 0.

    Raises
    ------
    ArgumentError
        If `average` is none of these, or a number is out of its range.

    Examples
    --------
    One row is rightly predicted to be of class 1, and one wrongly:

    >>> import gpunn
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
