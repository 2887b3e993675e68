"""Loss functions and their gradients, written as formulas.

A loss computes one number l_i for each row (sample), and the gradient of l_i with respect to the
row's predictions. For every loss, the backend averages the rows' losses to the batch's loss
sum_i w_i l_i / sum_i w_i, with the sample weights w_i, which are 1 by default.

In the formulas, p stands for the predictions and t for the targets. Rows have the index i, outputs
the index j. The formulas in this module are the reference for all backends. A backend may compute a
built-in loss in a faster way; tests compare the results with the formulas. To define a new loss,
write a subclass with `values`. A parameter outside its documented range raises an `ArgumentError`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from array_api_compat import device

from gpunn.activations import sigmoid, softmax, softplus
from gpunn.configurable import (
    Configurable,
    check_fraction,
    check_quantiles,
    missing_class,
    number,
)
from gpunn.errors import ArgumentError, DataError, ShapeError
from gpunn.expressions.derived import default, derived, forget_inherited
from gpunn.expressions.expression import require_separate_rows
from gpunn.schedules import Schedule, setting
from gpunn.typing import Array, Namespace

__all__ = [
    "BinaryCrossEntropy",
    "BinaryFocal",
    "ElementwiseLoss",
    "Gamma",
    "GaussianNLL",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Poisson",
    "Quantile",
    "Quantiles",
    "SoftmaxCrossEntropy",
    "SoftmaxFocal",
    "Tweedie",
    "real_targets",
]


class Loss(Configurable):
    """Base of all losses: one value for each row of predictions.

    Attributes
    ----------
    output_activation : {"identity", "softmax", "sigmoid", "exponential"}
        The function that maps the network's outputs to the scale of the targets. With "softmax" and
        "sigmoid", the outputs are logits, and `Sequential.predict_proba` returns probabilities.

    See Also
    --------
    ElementwiseLoss : Base of losses that sum a function of one prediction and one target.

    Examples
    --------
    >>> class FourthPower(gpunn.losses.Loss):
    ...     name = "fourth_power"
    ...
    ...     def values(self, xp, predictions, targets):
    ...         return xp.mean((predictions - targets) ** 4, axis=1)
    >>> predictions, targets = np.array([[3.0], [0.0]]), np.array([[1.0], [0.0]])
    >>> FourthPower().values(np, predictions, targets)
    array([16.,  0.])
    >>> FourthPower().gradients(np, predictions, targets)
    array([[32.],
           [ 0.]])
    """

    output_activation: ClassVar[str] = "identity"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        forget_inherited(cls, Loss, "values", "gradients")

    def values(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        """Return the loss l_i of each row, shape (rows,).

        Parameters
        ----------
        xp : module
            The namespace of array functions, by the array-API standard.
        predictions : array, shape (rows, outputs)
            The network's outputs.
        targets : array
            Targets from `check_targets`: (rows, outputs), or integer labels (rows,).

        Returns
        -------
        array, shape (rows,)
            The loss l_i of each row, in the predictions' dtype.
        """
        raise NotImplementedError(f"{type(self).__name__} must define values")

    @default
    def gradients(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        """Return the gradient d values[i] / d predictions[i, j], shape (rows, outputs).

        By default, gpunn traces the array functions that `values` calls, and differentiates them.
        This also applies to a class that redefines only the `values` of a built-in loss.

        Parameters
        ----------
        xp, predictions, targets : as for `values`
            The arguments of `values`.

        Returns
        -------
        array, shape (rows, outputs)
            The derivatives dl_i / dp_ij, in the predictions' dtype.

        Raises
        ------
        ArgumentError
            If the class does not define `gradients`, and `values` can't be traced or combines rows.
        """
        instead = "gradients(self, xp, predictions, targets)"
        return derived(self, "values", instead, require_separate_rows, xp, predictions, targets)

    def evaluated(self) -> Loss:
        """Return the loss for evaluation, without settings that are only for training.

        Returns
        -------
        Loss
            The loss for evaluation; by default, the unchanged loss.
        """
        return self

    def check_targets(self, y: np.ndarray, outputs: int) -> np.ndarray:
        """Check the targets of a data set, and return the numbers that `values` expects.

        Parameters
        ----------
        y : ndarray
            The user's targets, with an entry or a row for each sample.
        outputs : int
            Number of the network's outputs.

        Returns
        -------
        ndarray
            Real numbers of shape (rows, outputs), or int64 class labels of shape (rows,).

        Raises
        ------
        DataError
            If the targets do not fit the loss and the number of outputs.
        """
        return real_targets(y, outputs)

    def class_indices(self, targets: np.ndarray) -> np.ndarray | None:
        """Return each row's class as an integer, or None if the targets aren't classes.

        Parameters
        ----------
        targets : ndarray
            Targets from `check_targets`.

        Returns
        -------
        ndarray of int, shape (rows,), or None
            None by default.
        """
        return None


class ElementwiseLoss(Loss):
    """Base of losses that sum a function f over the outputs: l_i = scale sum_j f(p_ij, t_ij).

    The method `terms` computes f.

    Examples
    --------
    >>> class PseudoHuber(gpunn.losses.ElementwiseLoss):
    ...     name = "pseudo_huber"
    ...
    ...     def terms(self, xp, predictions, targets):
    ...         return xp.sqrt(1 + (predictions - targets) ** 2) - 1
    >>> predictions, targets = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]])
    >>> PseudoHuber().values(np, predictions, targets).round(4)
    array([0.618])
    >>> PseudoHuber().gradients(np, predictions, targets).round(4)
    array([[0.    , 0.4472]])
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        forget_inherited(cls, ElementwiseLoss, "terms", "slopes", "slope")

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        """Return the values of f, shape (rows, outputs).

        Parameters
        ----------
        xp : module
            The namespace of array functions, by the array-API standard.
        predictions, targets : array, shape (rows, outputs)
            The network's outputs and their targets.

        Returns
        -------
        array, shape (rows, outputs)
            f(p_ij, t_ij).
        """
        raise NotImplementedError(f"{type(self).__name__} must define terms")

    @default
    def slopes(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        """Return the derivatives df/dp_ij, without the constant factor that `slope` returns.

        The gradient is this result times `slope`. By default, gpunn differentiates `terms`, with
        all constant factors: a class that keeps this default must not override `slope`.

        Parameters
        ----------
        xp, predictions, targets : as for `terms`
            The arguments of `terms`.

        Returns
        -------
        array, shape (rows, outputs)
            df/dp_ij without the constant factor that `slope` returns.

        Raises
        ------
        ArgumentError
            If the class does not define `slopes`, and `terms` can't be traced or combines rows.
        """
        instead = "slopes(self, xp, predictions, targets)"
        return derived(self, "terms", instead, require_separate_rows, xp, predictions, targets)

    def scale(self, outputs: int) -> float:
        """Return the factor by which the sum of a row's `terms` is multiplied.

        Parameters
        ----------
        outputs : int
            Number of the network's outputs.

        Returns
        -------
        float
            The factor: 1 / outputs by default, which makes the sum a mean.
        """
        return 1 / outputs

    def slope(self, outputs: int) -> float:
        """Return the factor by which `slopes` are multiplied to get the gradient.

        Parameters
        ----------
        outputs : int
            Number of the network's outputs.

        Returns
        -------
        float
            `scale(outputs)` by default.
        """
        return self.scale(outputs)

    def values(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        terms = self.terms(xp, predictions, targets)
        return self.scale(predictions.shape[1]) * xp.sum(terms, axis=1)

    def gradients(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        return self.slope(predictions.shape[1]) * self.slopes(xp, predictions, targets)


def real_targets(y: np.ndarray, outputs: int) -> np.ndarray:
    """Return `y` as finite real numbers of shape (rows, outputs).

    Parameters
    ----------
    y : ndarray
        The user's targets. With one output, their shape may be (rows,) or (rows, 1).
    outputs : int
        Number of the network's outputs.

    Returns
    -------
    ndarray, shape (rows, outputs)
        `y`, or a view of `y` if the shape differs.

    Raises
    ------
    DataError
        If the shape or type is wrong, or an entry is not finite.

    Examples
    --------
    >>> from gpunn.losses import real_targets
    >>> real_targets(np.array([1.0, 2.0]), outputs=1).shape
    (2, 1)
    """
    if y.dtype.kind not in "buif":
        raise DataError(
            f"y: expected real numbers; got dtype {y.dtype}; convert y to integers or floats"
        )
    targets = y.reshape(-1, 1) if y.ndim == 1 and outputs == 1 else y
    if targets.ndim != 2 or targets.shape[1] != outputs:
        expected = "(rows,) or (rows, 1)" if outputs == 1 else f"(rows, {outputs})"
        hint = (
            f"; integer class labels need the loss 'softmax_cross_entropy', "
            f"or one-hot targets such as numpy.eye({outputs})[y]"
            if y.ndim == 1 and y.dtype.kind in "bui"
            else ""
        )
        raise ShapeError(
            f"y: this network has {outputs} output{'s' if outputs > 1 else ''}, so the targets "
            f"must have shape {expected}; got {y.shape}{hint}"
        )
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        row = int(np.flatnonzero(~np.isfinite(targets).all(axis=1))[0])
        raise DataError(f"y: expected finite numbers; row {row} holds {targets[row].tolist()}")
    return targets


def are_distributions(targets: np.ndarray) -> np.ndarray:
    sums_to_one = np.abs(targets.sum(axis=1, dtype=np.float64) - 1) <= 1e-3
    return np.asarray((targets >= 0).all(axis=1) & sums_to_one)


def refuse_rows(
    wrong: np.ndarray, targets: np.ndarray, needs: str, *, of: str = "", advice: str = ""
) -> None:
    rows = np.flatnonzero(wrong.reshape(len(targets), -1).any(axis=1))
    if rows.size:
        raise DataError(
            f"{needs}; row {rows[0]}{of} is {targets[rows[0]].tolist()} (wrong rows: {rows.size})"
            f"{advice}"
        )


@dataclass(frozen=True)
class MeanSquaredError(ElementwiseLoss):
    """Squared error: l_i = mean_j (p_ij - t_ij)^2, or the sum over the outputs j.

    Parameters
    ----------
    over_outputs : {"mean", "sum", "half_sum"}
        "mean" makes the batch's loss the mean over all elements. With "sum", the batch's loss is
        the tutorial's cost, C = 1/m sum_i sum_j (p_ij - t_ij)^2. With "half_sum", the loss is half
        of the sum, and its gradient is p_ij - t_ij.

    Examples
    --------
    >>> predictions, targets = np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0, 1], [1, 0]])
    >>> gpunn.losses.MeanSquaredError().values(np, predictions, targets).round(4)
    array([0.01, 0.04])
    >>> gpunn.losses.MeanSquaredError("sum").values(np, predictions, targets).round(4)
    array([0.02, 0.08])
    """

    over_outputs: str = "mean"

    name = "mean_squared_error"

    def __post_init__(self) -> None:
        if self.over_outputs not in ("mean", "sum", "half_sum"):
            raise ArgumentError(
                f"over_outputs: expected 'mean', 'sum' or 'half_sum'; got {self.over_outputs!r}"
            )

    def scale(self, outputs: int) -> float:
        return {"mean": 1 / outputs, "sum": 1.0, "half_sum": 0.5}[self.over_outputs]

    def slope(self, outputs: int) -> float:
        return 2 * self.scale(outputs)

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        difference = predictions - targets
        return difference * difference

    def slopes(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        return predictions - targets


@dataclass(frozen=True)
class MeanAbsoluteError(ElementwiseLoss):
    """Mean absolute error: l_i = mean_j |p_ij - t_ij|.

    The median of the targets minimizes this loss. The gradient is sign(p_ij - t_ij) / outputs, with
    sign(0) = 0.

    Examples
    --------
    >>> loss = gpunn.losses.MeanAbsoluteError()
    >>> loss.values(np, np.array([[1.0, 5.0]]), np.array([[0.0, 2.0]]))
    array([2.])
    """

    name = "mean_absolute_error"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        return xp.abs(predictions - targets)

    def slopes(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        return xp.sign(predictions - targets)


@dataclass(frozen=True)
class Huber(ElementwiseLoss):
    """Huber loss: squared for errors up to `delta`, absolute for larger errors.

    l_i = mean_j h(p_ij - t_ij), where h(d) = d^2 / 2 for |d| <= delta, and delta * (|d| - delta /
    2) otherwise. See Huber 1964, "Robust Estimation of a Location Parameter". The gradient is h'(d)
    / outputs, where h'(d) is d clipped to [-delta, delta].

    Parameters
    ----------
    delta : float
        The largest error with a squared loss, in the unit of the targets; positive.

    Examples
    --------
    >>> loss = gpunn.losses.Huber(delta=1.0)
    >>> loss.values(np, np.array([[0.5], [4.0]]), np.array([[0.0], [0.0]]))
    array([0.125, 3.5  ])
    """

    delta: float = number(1.0, above=0)

    name = "huber"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        distance = xp.abs(predictions - targets)
        clipped = xp.minimum(distance, self.delta)
        return clipped * (distance - 0.5 * clipped)

    def slopes(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        return xp.minimum(xp.maximum(predictions - targets, -self.delta), self.delta)


@dataclass(frozen=True)
class LogCosh(ElementwiseLoss):
    """Smooth absolute error: l_i = mean_j log(cosh(p_ij - t_ij)).

    For small errors d, a term is about d^2 / 2; for large errors, |d| - log(2). The gradient is
    tanh(p_ij - t_ij) / outputs.

    Examples
    --------
    >>> loss = gpunn.losses.LogCosh()
    >>> loss.values(np, np.array([[1.0], [10.0]]), np.array([[0.0], [0.0]])).round(4)
    array([0.4338, 9.3069])
    """

    name = "log_cosh"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        distance = xp.abs(predictions - targets)
        return distance + xp.log1p(xp.exp(-2 * distance)) - math.log(2)


def one_hot(xp: Namespace, labels: Array, classes: int, dtype: object) -> Array:
    columns = xp.arange(classes, dtype=labels.dtype, device=device(labels))
    return xp.astype(labels[:, None] == columns[None, :], dtype)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """Categorical cross-entropy, from logits p: l_i = -sum_j t_ij log softmax(p_i)_j.

    See Bishop 2006, "Pattern Recognition and Machine Learning", equation 4.108. The gradient is
    softmax(p_i) - t_i.

    Targets are integer labels of shape (rows,) or (rows, 1), or probabilities (one-hot included) of
    shape (rows, classes). The network needs at least two outputs, one per class.

    Parameters
    ----------
    label_smoothing : float or Schedule
        A number in [0, 1). Targets become (1 - label_smoothing) * t + label_smoothing / classes
        (Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section
        7). Evaluation uses no smoothing.

    Examples
    --------
    >>> loss = gpunn.losses.SoftmaxCrossEntropy()
    >>> logits = np.log(np.array([[0.5, 0.25, 0.25]]))
    >>> loss.values(np, logits, np.array([[1.0, 0.0, 0.0]])).round(4)
    array([0.6931])
    >>> loss.gradients(np, logits, np.array([[1.0, 0.0, 0.0]]))
    array([[-0.5 ,  0.25,  0.25]])
    """

    label_smoothing: float | Schedule = setting(0.0, check_fraction)

    name = "softmax_cross_entropy"
    _of_one_output = "binary_cross_entropy"
    output_activation = "softmax"

    def evaluated(self) -> Loss:
        return replace(self, label_smoothing=0.0) if self.label_smoothing else self

    def probabilities(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        """Return the smoothed targets as probabilities.

        Parameters
        ----------
        xp : module
            The namespace of array functions, by the array-API standard.
        predictions : array, shape (rows, classes)
            Logits.
        targets : array, shape (rows,) or (rows, classes)
            Labels or probabilities.

        Returns
        -------
        array, shape (rows, classes)
            The smoothed targets, (1 - label_smoothing) * t + label_smoothing / classes.
        """
        classes = predictions.shape[1]
        if targets.ndim == 1:
            targets = one_hot(xp, targets, classes, predictions.dtype)
        smoothing = cast("float", self.label_smoothing)  # the current value of a schedule
        return (1 - smoothing) * targets + smoothing / classes

    def values(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        t = self.probabilities(xp, predictions, targets)
        shifted = predictions - xp.max(predictions, axis=1, keepdims=True)
        return xp.log(xp.sum(xp.exp(shifted), axis=1)) - xp.sum(t * shifted, axis=1)

    def gradients(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        t = self.probabilities(xp, predictions, targets)
        return softmax(xp, predictions) - t

    def check_targets(self, y: np.ndarray, outputs: int) -> np.ndarray:
        if outputs < 2:
            raise DataError(
                f"{self.name} needs a network with at least 2 outputs, one per class; got 1. Add "
                f"outputs, or use {self._of_one_output!r}"
            )
        if y.dtype.kind in "OSUT":
            raise DataError(
                f"y: expected integer class labels; got dtype {y.dtype}. Number the classes first: "
                "classes, y = numpy.unique(y, return_inverse=True)"
            )
        if y.ndim == 2 and y.shape[1] == outputs:
            targets = real_targets(y, outputs)
            needs = "y: each row of probabilities must be >= 0 and sum to 1"
            refuse_rows(~are_distributions(targets), targets, needs)
            return targets
        labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if labels.ndim != 1 or labels.dtype.kind not in "bui":
            floats = labels.ndim == 1 and labels.dtype.kind == "f"
            hint = ". If these are labels, convert them with y.astype(int)" if floats else ""
            raise ShapeError(
                f"y: expected integer labels of shape (rows,) or probabilities of shape "
                f"(rows, {outputs}); got shape {y.shape}, dtype {y.dtype}{hint}"
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= outputs))
        if wrong.size:
            raise DataError(
                f"y: labels must be from 0 to {outputs - 1}, since the network has {outputs} "
                f"outputs; y[{wrong[0]}] is {labels[wrong[0]]} (wrong labels: {wrong.size})"
            )
        return labels.astype(np.int64, copy=False)

    def class_indices(self, targets: np.ndarray) -> np.ndarray:
        return targets if targets.ndim == 1 else targets.argmax(axis=1)


@dataclass(frozen=True)
class SoftmaxFocal(SoftmaxCrossEntropy):
    """Categorical focal loss, from logits p: l_i = -sum_j t_ij (1 - s_ij)^gamma log s_ij.

    Here s_i = softmax(p_i). Rows whose class is already predicted with a high probability count
    less than in the cross-entropy. See Lin et al. 2017, "Focal Loss for Dense Object Detection",
    equation 4. For the paper's weights alpha, use `class_weight` of `Trainer.fit`. Targets are the
    same as for `SoftmaxCrossEntropy`.

    Parameters
    ----------
    gamma : float
        From 0 to 16, by default 2. A larger gamma gives easy rows less weight. With 0, the loss
        is the cross-entropy.

    Examples
    --------
    >>> loss = gpunn.losses.SoftmaxFocal(gamma=2.0)
    >>> loss.values(np, np.log(np.array([[0.5, 0.25, 0.25]])), np.array([0])).round(4)
    array([0.1733])
    """

    gamma: float = number(2.0, at_least=0, at_most=16)

    name = "softmax_focal"
    _of_one_output = "binary_focal"

    def values(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        t = self.probabilities(xp, predictions, targets)
        shifted = predictions - xp.max(predictions, axis=1, keepdims=True)
        logarithm = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
        others = xp.maximum(-xp.expm1(logarithm), 1e-30)  # a power of 0 may have an infinite slope
        return -xp.sum(t * others**self.gamma * logarithm, axis=1)

    gradients = Loss.gradients


@dataclass(frozen=True)
class KLDivergence(SoftmaxCrossEntropy):
    """Kullback-Leibler divergence, from logits p: l_i = sum_j t_ij log(t_ij / softmax(p_i)_j).

    The loss is the cross-entropy minus the entropy of the targets, so its minimum is 0. The
    gradient is softmax(p_i) - t_i. See Kullback & Leibler 1951, "On Information and Sufficiency".
    Targets are the same as for `SoftmaxCrossEntropy`.

    Examples
    --------
    >>> loss = gpunn.losses.KLDivergence()
    >>> logits = np.log(np.array([[0.5, 0.5]]))
    >>> loss.values(np, logits, np.array([[0.9, 0.1]])).round(4)
    array([0.3681])
    """

    name = "kl_divergence"

    def values(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        t = self.probabilities(xp, predictions, targets)
        entropy = -xp.sum(t * xp.log(xp.where(t > 0, t, xp.ones_like(t))), axis=1)
        return super().values(xp, predictions, targets) - entropy


@dataclass(frozen=True)
class BinaryCrossEntropy(ElementwiseLoss):
    """Binary cross-entropy, from logits p: l_i = mean_j log(1 + exp(p_ij)) - t_ij p_ij.

    The term for each output equals -t log(s) - (1 - t) log(1 - s) with s = 1 / (1 + exp(-p)). The
    loss is computed as softplus(p) - t p, which can't overflow. See Bishop 2006, "Pattern
    Recognition and Machine Learning", equation 4.90. Targets t are in [0, 1]. The gradient is
    (s_ij - t_ij) / outputs. Several outputs are independent labels (multilabel classification).

    Examples
    --------
    >>> loss = gpunn.losses.BinaryCrossEntropy()
    >>> loss.values(np, np.array([[0.0], [100.0]]), np.array([[1.0], [1.0]])).round(4)
    array([0.6931, 0.    ])
    """

    name = "binary_cross_entropy"
    output_activation = "sigmoid"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        return softplus(xp, predictions) - targets * predictions

    def slopes(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        return sigmoid(xp, predictions) - targets

    def check_targets(self, y: np.ndarray, outputs: int) -> np.ndarray:
        targets = real_targets(y, outputs)
        wrong = (targets < 0) | (targets > 1)
        refuse_rows(wrong, targets, f"y: {self.name} needs targets in [0, 1]")
        return targets

    def class_indices(self, targets: np.ndarray) -> np.ndarray | None:
        return (targets[:, 0] > 0.5).astype(np.int64) if targets.shape[1] == 1 else None


@dataclass(frozen=True)
class BinaryFocal(BinaryCrossEntropy):
    """Binary focal loss, from logits p: easy rows count less than in the cross-entropy.

    l_i = mean_j -t_ij (1 - s_ij)^gamma log(s_ij) - (1 - t_ij) s_ij^gamma log(1 - s_ij), where s = 1
    / (1 + exp(-p)). See Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4. For
    the paper's weights alpha, use `class_weight` of `Trainer.fit`. Targets are the same as for
    `BinaryCrossEntropy`.

    Parameters
    ----------
    gamma : float
        At least 0, by default 2. A larger gamma gives easy rows less weight. With 0, the loss
        is the cross-entropy.

    Examples
    --------
    >>> loss = gpunn.losses.BinaryFocal(gamma=2.0)
    >>> loss.values(np, np.array([[0.0], [1.0]]), np.array([[1.0], [1.0]])).round(4)
    array([0.1733, 0.0227])
    """

    gamma: float = number(2.0, at_least=0)

    name = "binary_focal"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        yes, no = softplus(xp, -predictions), softplus(xp, predictions)  # -log(s), -log(1 - s)
        of_yes, of_no = yes * xp.exp(-self.gamma * no), no * xp.exp(-self.gamma * yes)
        return targets * of_yes + (1 - targets) * of_no

    slopes = ElementwiseLoss.slopes


@dataclass(frozen=True)
class Hinge(BinaryCrossEntropy):
    """Binary hinge loss: l_i = mean_j t_ij max(0, 1 - p_ij) + (1 - t_ij) max(0, 1 + p_ij).

    Rows on the correct side of the margin do not count. See Cortes & Vapnik 1995, "Support-Vector
    Networks". Predictions above 0 mean yes. `Sequential.predict_proba` returns 1 / (1 + exp(-p)),
    which is not a calibrated probability. Targets are the same as for `BinaryCrossEntropy`.

    Examples
    --------
    >>> loss = gpunn.losses.Hinge()
    >>> loss.values(np, np.array([[2.0], [0.5], [0.5]]), np.array([[1.0], [1.0], [0.0]]))
    array([0. , 0.5, 1.5])
    """

    name = "hinge"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        of_yes, of_no = xp.maximum(1 - predictions, 0.0), xp.maximum(1 + predictions, 0.0)
        return targets * of_yes + (1 - targets) * of_no

    slopes = ElementwiseLoss.slopes


@dataclass(frozen=True)
class Poisson(ElementwiseLoss):
    """Poisson loss for counts: l_i = mean_j exp(p_ij) - t_ij p_ij, where p = log(rate).

    The loss is the Poisson negative log-likelihood without log(t!), which does not depend on p
    (McCullagh & Nelder 1989, "Generalized Linear Models", chapter 6). The gradient is (exp(p_ij) -
    t_ij) / outputs.

    Attributes
    ----------
    from_zero : bool
        Whether each term includes t log(t) - t, with 0 log(0) = 0. Then the minimum of a term is 0.

    Examples
    --------
    >>> loss = gpunn.losses.Poisson()
    >>> loss.values(np, np.log(np.array([[2.0]])), np.array([[2.0]])).round(4)
    array([0.6137])
    """

    from_zero: ClassVar[bool] = False

    name = "poisson"
    output_activation = "exponential"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        terms = xp.exp(predictions) - targets * predictions
        if not self.from_zero:
            return terms
        logarithm = xp.log(xp.where(targets > 0, targets, xp.ones_like(targets)))
        return terms + (targets * logarithm - targets)

    def slopes(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        return xp.exp(predictions) - targets

    def check_targets(self, y: np.ndarray, outputs: int) -> np.ndarray:
        targets = real_targets(y, outputs)
        refuse_rows(targets < 0, targets, f"y: {self.name} needs counts >= 0")
        return targets


@dataclass(frozen=True)
class Gamma(ElementwiseLoss):
    """Gamma loss for positive numbers: l_i = mean_j (p_ij + t_ij exp(-p_ij)).

    The prediction p is the logarithm of the distribution's mean m. The loss is the negative
    log-likelihood of a gamma distribution, divided by the distribution's shape parameter, without
    terms that do not depend on p. Apart from such terms, the loss depends only on t / m, that is,
    on relative errors. See McCullagh & Nelder 1989, "Generalized Linear Models", chapter 8.

    Examples
    --------
    >>> loss = gpunn.losses.Gamma()
    >>> loss.values(np, np.log(np.array([[2.0]])), np.array([[2.0]])).round(4)
    array([1.6931])
    """

    name = "gamma"
    output_activation = "exponential"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        return predictions + targets * xp.exp(-predictions)

    def check_targets(self, y: np.ndarray, outputs: int) -> np.ndarray:
        targets = real_targets(y, outputs)
        refuse_rows(targets <= 0, targets, f"y: {self.name} needs targets > 0")
        return targets


@dataclass(frozen=True)
class Tweedie(ElementwiseLoss):
    """Tweedie loss for positive numbers and many zeros, such as insurance claims.

    The prediction p is the logarithm of the mean m. The loss is
    l_i = mean_j (exp((2 - q) p_ij) / (2 - q) - t_ij exp((1 - q) p_ij) / (1 - q)). The variance of
    the targets is assumed proportional to m^q. The loss is close to `Poisson` for q near 1, and to
    `Gamma` for q near 2. See Jorgensen 1987, "Exponential Dispersion Models".

    Parameters
    ----------
    power : float
        The exponent q, between 1 and 2; 1.5 by default.

    Examples
    --------
    >>> loss = gpunn.losses.Tweedie(1.5)
    >>> loss.values(np, np.log(np.array([[4.0], [4.0]])), np.array([[4.0], [0.0]]))
    array([8., 4.])
    """

    power: float = number(1.5, above=1, below=2)

    name = "tweedie"
    output_activation = "exponential"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        first, second = 1 - self.power, 2 - self.power
        return xp.exp(second * predictions) / second - targets * xp.exp(first * predictions) / first

    def check_targets(self, y: np.ndarray, outputs: int) -> np.ndarray:
        targets = real_targets(y, outputs)
        refuse_rows(targets < 0, targets, f"y: {self.name} needs targets >= 0")
        return targets


@dataclass(frozen=True)
class GaussianNLL(Loss):
    """Gaussian negative log-likelihood, for networks that also predict their uncertainty.

    The network has two outputs for each target: first all means m, then all logarithms s of
    variances. The loss is l_i = mean_j (s_ij + (t_ij - m_ij)^2 exp(-s_ij)) / 2. The constant log(2
    pi) / 2 is left out. See Nix & Weigend 1994, "Estimating the Mean and Variance of the Target
    Probability Distribution".

    Targets have shape (rows, outputs / 2), or (rows,) for two outputs. `Sequential.predict` returns
    the network's outputs: the means, then the logarithms s. The standard deviations are exp(s / 2).
    Built-in metrics, the layer `TargetScaling` and the estimators of `gpunn.sklearn` need one
    output for each target, so they can't be combined with this loss.

    Examples
    --------
    >>> loss = gpunn.losses.GaussianNLL()
    >>> means_and_logarithms = np.array([[1.0, 0.0], [1.0, np.log(4.0)]])
    >>> loss.values(np, means_and_logarithms, np.array([[3.0], [3.0]])).round(4)
    array([2.    , 1.1931])
    """

    name = "gaussian_nll"

    def values(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        count = targets.shape[1]
        means, logarithms = predictions[:, :count], predictions[:, count:]
        errors = targets - means
        return 0.5 * xp.mean(logarithms + errors * errors * xp.exp(-logarithms), axis=1)

    def check_targets(self, y: np.ndarray, outputs: int) -> np.ndarray:
        count = outputs // 2
        targets = y.reshape(-1, 1) if y.ndim == 1 and count == 1 else y
        if outputs % 2 or targets.ndim != 2 or targets.shape[1] != count:
            raise ShapeError(
                f"y: {self.name} needs two outputs for each target, a mean and the logarithm of a "
                f"variance; got targets of shape {y.shape}, and a network with {outputs} "
                f"output{'s' if outputs > 1 else ''}"
            )
        return real_targets(targets, count)


@dataclass(frozen=True)
class Quantile(ElementwiseLoss):
    """Quantile loss: l_i = mean_j max(q d_ij, (q - 1) d_ij) with d = t - p.

    The q-quantile of the targets minimizes this loss, the pinball loss of Koenker & Bassett 1978,
    "Regression Quantiles". At d = 0, the gradient is defined as 0.

    Parameters
    ----------
    quantile : float
        q, in (0, 1). With q = 0.5, the loss is half the absolute error.

    Examples
    --------
    >>> loss = gpunn.losses.Quantile(0.9)
    >>> loss.values(np, np.array([[1.0], [3.0]]), np.array([[2.0], [2.0]])).round(4)
    array([0.9, 0.1])
    """

    quantile: float = number(0.5, above=0, below=1)

    name = "quantile"

    def terms(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        d = targets - predictions
        return xp.maximum(self.quantile * d, (self.quantile - 1) * d)

    def slopes(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        sign = xp.sign(predictions - targets)
        # 1 - q for predictions above the target, -q below the target, and 0 if both are equal.
        return 0.5 * sign + (0.5 - self.quantile) * sign * sign


@dataclass(frozen=True)
class Quantiles(Loss):
    """Mean quantile loss of several quantiles: l_i = mean_j max(q_j d_ij, (q_j - 1) d_ij).

    As in `Quantile`, d_ij = t_i - p_ij. The network has one output for each quantile of the only
    target. With the layer `gpunn.layers.SortedOutputs`, the predicted quantiles never cross.
    Targets have shape (rows,) or (rows, 1).

    Parameters
    ----------
    quantiles : sequence of float
        The quantiles q_j in ascending order, in (0, 1).

    Examples
    --------
    >>> loss = gpunn.losses.Quantiles([0.1, 0.5, 0.9])
    >>> targets = loss.check_targets(np.array([2.0]), outputs=3)
    >>> loss.values(np, np.array([[1.0, 2.0, 3.0]]), targets).round(4)
    array([0.0667])
    """

    quantiles: Sequence[float] = (0.05, 0.5, 0.95)

    name = "quantiles"

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantiles", check_quantiles("quantiles", self.quantiles))

    def values(self, xp: Namespace, predictions: Array, targets: Array) -> Array:
        total = 0.0
        for j, q in enumerate(self.quantiles):
            d = targets[:, j : j + 1] - predictions[:, j : j + 1]
            total = total + xp.maximum(q * d, (q - 1) * d)
        return xp.sum(total, axis=1) / len(self.quantiles)

    def check_targets(self, y: np.ndarray, outputs: int) -> np.ndarray:
        if outputs != len(self.quantiles):
            raise ShapeError(
                f"y: {self.name} needs one output for each quantile: expected "
                f"{len(self.quantiles)}, but the network has {outputs}"
            )
        return np.repeat(real_targets(y, 1), outputs, axis=1)


if not TYPE_CHECKING:  # otherwise mypy would accept any name from this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Loss, name)
