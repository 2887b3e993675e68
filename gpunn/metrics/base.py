"""Base classes of all metrics."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from gpunn.configurable import Configurable
from gpunn.errors import DataError
from gpunn.losses import are_distributions, refuse_rows
from gpunn.typing import Array, Namespace


class Metric(Configurable):
    """Base of all metrics, which compute a number from predictions, targets and sample weights.

    Attributes
    ----------
    larger_is_better : bool or None
        Whether larger values of the metric are better. Early stopping, checkpoints and schedules
        need this to select the best epoch. With None, they need mode="min" or mode="max".

    Examples
    --------
    >>> class WithinOne(gpunn.metrics.ValueMetric):
    ...     name = "within_one"
    ...     larger_is_better = True
    ...
    ...     def measure(self, xp, predictions, targets, weights):
    ...         close = xp.all(xp.abs(predictions - targets) <= 1, axis=1)
    ...         return xp.sum(xp.astype(close, weights.dtype) * weights, keepdims=True)
    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 1, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", metrics=[WithinOne()])
    >>> trainer.evaluate([[1.0], [5.0]], [1.5, 2.0])["within_one"]
    0.5
    """

    larger_is_better: ClassVar[bool | None] = None

    def size(self, outputs: int) -> int:
        """Return the length of the summary.

        Parameters
        ----------
        outputs : int
            Number of the network's outputs.

        Returns
        -------
        int
            1 by default.
        """
        return 1

    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        """Raise a DataError if this metric does not support the targets.

        The base class supports all targets.

        Parameters
        ----------
        targets : ndarray
            The loss's targets: shape (rows, outputs), or (rows,) for class labels.
        outputs : int
            Number of the network's outputs.

        Raises
        ------
        DataError
            If the metric does not support the targets.
        """

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        """Return the summary of a batch, shape (size(outputs),).

        Parameters
        ----------
        xp : module
            The namespace of array functions, by the array-API standard.
        predictions : array, shape (rows, outputs)
            The network's outputs; logits, if the loss expects logits.
        targets : array, shape (rows,) or (rows, outputs)
            The loss's targets; integer labels if the shape is (rows,).
        weights : array, shape (rows,)
            Sample weights.

        Returns
        -------
        array, shape (size(outputs),)
            The summary, in the predictions' dtype.
        """
        raise NotImplementedError(f"{type(self).__name__} must define measure")

    def combine(self, xp: Namespace, first: Array, second: Array) -> Array:
        """Merge the summaries of two batches.

        Parameters
        ----------
        xp : module
            The namespace of array functions: NumPy, or the device's library.
        first, second : array, shape (size(outputs),)
            The summaries of the two batches. A vector of zeros is the summary of no rows.

        Returns
        -------
        array, shape (size(outputs),)
            The summary of both batches: the sum by default.
        """
        return first + second

    def result(self, summary: np.ndarray, weight: float) -> float:
        """Compute the metric from the summary of all rows and the sum of their weights.

        Parameters
        ----------
        summary : ndarray of float64, shape (size(outputs),)
            The summary of all rows.
        weight : float
            The sum of the rows' sample weights.

        Returns
        -------
        float
            The metric: by default summary[0] / weight, a weighted mean.
        """
        return float(summary[0] / weight)


class ClassMetric(Metric):
    """Base of metrics that need one output per class.

    Examples
    --------
    >>> gpunn.metrics.Accuracy().check_targets(np.array([0, 1]), outputs=1)
    Traceback (most recent call last):
        ...
    gpunn.errors.DataError: metric 'accuracy' needs one output per class, but the network ...
    """

    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        if outputs < 2:
            raise DataError(
                f"metric {self.name!r} needs one output per class, but the network has 1 "
                "output; use 'binary_accuracy'"
            )


class LabelMetric(ClassMetric):
    """Base of metrics that use logits, for rows with one class each.

    A single output is the logit of class 1 ("yes"); several outputs are the logits of the classes.
    If targets are probabilities, the true class is the class with the largest probability, unless a
    metric documents another rule.

    Examples
    --------
    >>> gpunn.metrics.AUC().check_targets(np.array([[0.0], [2.0]]), outputs=1)
    Traceback (most recent call last):
        ...
    gpunn.errors.DataError: metric 'auc' needs 0 for no and 1 for yes; row 1 of y is [2.0] ...
    """

    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        if targets.ndim == 1:
            return
        if outputs == 1:
            wrong = (targets < 0) | (targets > 1)
            expected = "0 for no and 1 for yes"
        else:
            wrong = ~are_distributions(targets)
            expected = "one class per row: class numbers, or rows that are >= 0 and sum to 1"
        refuse_rows(wrong, targets, f"metric {self.name!r} needs {expected}", of=" of y")


class ValueMetric(Metric):
    """Base of metrics that compare each output with its target.

    Examples
    --------
    >>> gpunn.metrics.R2().check_targets(np.array([0, 1]), outputs=2)
    Traceback (most recent call last):
        ...
    gpunn.errors.DataError: metric 'r2' compares numbers, but y holds class labels; ...
    """

    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        if targets.ndim == 1:
            raise DataError(
                f"metric {self.name!r} compares numbers, but y holds class labels; "
                "use 'accuracy' or 'top_k_accuracy'"
            )
        if targets.shape[1] != outputs:
            raise DataError(
                f"metric {self.name!r} compares each output with its target, but the numbers of "
                f"outputs and targets differ: {outputs} and {targets.shape[1]}; remove the metric"
            )


def true_class(xp: Namespace, targets: Array) -> Array:
    return targets if targets.ndim == 1 else xp.argmax(targets, axis=1)


def weighted_sum(xp: Namespace, values: Array, weights: Array) -> Array:
    return xp.sum(xp.astype(values, weights.dtype) * weights, keepdims=True)
