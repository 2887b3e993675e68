"""The built-in losses with their gradients, in place.

For each: `compute(loss, p, t, values, gradient, scratch)` sets values (rows,) to the losses and,
unless it is None, gradient (rows, outputs) to their gradients before weighting. Predictions p are
(rows, outputs); targets t too, or labels (rows,). The mathematics is in `gpunn.losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gpunn import losses
from gpunn.backends.numpy.activations import sigmoid, softplus
from gpunn.backends.numpy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["computation"]

INTEGER = np.dtype(np.intp)


def mean_over_outputs(values: Array, terms: Array) -> None:
    """Set values[i] = mean_j terms[i, j]."""
    np.add.reduce(terms, axis=1, out=values)
    values /= terms.shape[1]


def mean_squared_error(
    loss: Any, p: Array, t: Array, values: Array, gradient: Array | None, scratch: Scratch
) -> None:
    d = scratch("difference", p.shape, p.dtype) if gradient is None else gradient
    np.subtract(p, t, out=d)
    np.vecdot(d, d, out=values)
    values *= loss.scale(p.shape[1])
    if gradient is not None and (slope := loss.slope(p.shape[1])) != 1:
        gradient *= slope


def mean_absolute_error(
    loss: Any, p: Array, t: Array, values: Array, gradient: Array | None, scratch: Scratch
) -> None:
    d = scratch("difference", p.shape, p.dtype)
    np.subtract(p, t, out=d)
    if gradient is not None:
        np.sign(d, out=gradient)
        gradient /= p.shape[1]
    np.abs(d, out=d)
    mean_over_outputs(values, d)


def huber(
    loss: Any, p: Array, t: Array, values: Array, gradient: Array | None, scratch: Scratch
) -> None:
    d = scratch("difference", p.shape, p.dtype)
    np.subtract(p, t, out=d)
    c = scratch("clipped", p.shape, p.dtype) if gradient is None else gradient
    np.maximum(d, -loss.delta, out=c)
    np.minimum(c, loss.delta, out=c)
    # h(d) = c (d - c / 2), the signs of c and d being the same
    half = scratch("half", p.shape, p.dtype)
    np.multiply(c, 0.5, out=half)
    d -= half
    d *= c
    mean_over_outputs(values, d)
    if gradient is not None:
        gradient /= p.shape[1]


def softmax_cross_entropy(
    loss: Any, p: Array, t: Array, values: Array, gradient: Array | None, scratch: Scratch
) -> None:
    rows, classes = p.shape
    flat = scratch("exponential", (rows * classes,), p.dtype)
    # The longer axis lies innermost, since that is the one along which NumPy is fast.
    transposed = rows > classes
    e = flat.reshape(classes, rows).T if transposed else flat.reshape(rows, classes)
    column = scratch("column", (rows, 1), p.dtype)
    np.copyto(e, p)
    np.maximum.reduce(e, axis=1, keepdims=True, out=column)
    np.subtract(e, column, out=e)  # logits, shifted so that none overflows
    expected = scratch("expected", (rows,), p.dtype)
    smoothing = loss.label_smoothing
    positions = None
    if t.ndim == 1:
        positions = positions_of(t, classes, scratch, transposed)
        flat.take(positions, out=expected, mode="clip")
    else:
        np.vecdot(e, t, out=expected)
    if smoothing:
        mean = scratch("mean", (rows,), p.dtype)
        mean_over_outputs(mean, e)
        mean *= smoothing
        expected *= 1 - smoothing
        expected += mean
    np.exp(e, out=e)
    np.add.reduce(e, axis=1, keepdims=True, out=column)
    np.log(column[:, 0], out=values)
    np.subtract(values, expected, out=values)  # the smoothed targets sum to one
    if gradient is None:
        return
    np.divide(e, column, out=e)
    if smoothing:
        e -= smoothing / classes
    if positions is None:
        scaled = scratch("targets", p.shape, p.dtype)
        np.multiply(t, 1 - smoothing, out=scaled)
        e -= scaled
    else:
        flat.take(positions, out=expected, mode="clip")
        np.subtract(expected, 1 - smoothing, out=expected)
        flat[positions] = expected
    np.copyto(gradient, e)


def positions_of(labels: Array, classes: int, scratch: Scratch, transposed: bool = False) -> Array:
    """Return where each row's label is in the flattened (rows, classes) array, or its transpose."""
    rows = labels.shape[0]
    positions = scratch("positions", labels.shape, INTEGER)
    counting = scratch.counting(rows)
    np.multiply(labels if transposed else counting, rows if transposed else classes, out=positions)
    np.add(positions, counting if transposed else labels, out=positions)
    return positions


def binary_cross_entropy(
    loss: Any, p: Array, t: Array, values: Array, gradient: Array | None, scratch: Scratch
) -> None:
    terms = scratch("terms", p.shape, p.dtype)
    product = scratch("product", p.shape, p.dtype)
    softplus(p, terms, product)
    np.multiply(t, p, out=product)
    terms -= product
    mean_over_outputs(values, terms)
    if gradient is not None:
        sigmoid(p, gradient)
        gradient -= t
        gradient /= p.shape[1]


def poisson(
    loss: Any, p: Array, t: Array, values: Array, gradient: Array | None, scratch: Scratch
) -> None:
    terms = scratch("terms", p.shape, p.dtype)
    product = scratch("product", p.shape, p.dtype)
    np.exp(p, out=terms)
    if gradient is not None:
        np.subtract(terms, t, out=gradient)
        gradient /= p.shape[1]
    np.multiply(t, p, out=product)
    terms -= product
    mean_over_outputs(values, terms)


def quantile(
    loss: Any, p: Array, t: Array, values: Array, gradient: Array | None, scratch: Scratch
) -> None:
    d = scratch("difference", p.shape, p.dtype)
    other = scratch("other", p.shape, p.dtype)
    np.subtract(t, p, out=d)
    if gradient is not None:
        np.sign(d, out=gradient)
        np.multiply(gradient, gradient, out=other)
        gradient *= -0.5
        other *= 0.5 - loss.quantile
        gradient += other
        gradient /= p.shape[1]
    np.multiply(d, loss.quantile - 1, out=other)
    d *= loss.quantile
    np.maximum(d, other, out=d)
    mean_over_outputs(values, d)


Compute: TypeAlias = Callable[[Any, Array, Array, Array, Array | None, Scratch], None]

COMPUTE: dict[type[losses.Loss], Compute] = {
    losses.MeanSquaredError: mean_squared_error,
    losses.MeanAbsoluteError: mean_absolute_error,
    losses.Huber: huber,
    losses.SoftmaxCrossEntropy: softmax_cross_entropy,
    losses.BinaryCrossEntropy: binary_cross_entropy,
    losses.Poisson: poisson,
    losses.Quantile: quantile,
}


def computation(kind: type[losses.Loss]) -> Compute | None:
    """Return what computes the losses of a class, None if they are not built in.

    A kind of squared error that has other factors, but the same formulas, is computed as that one.
    """
    squared = losses.MeanSquaredError
    if kind.values is squared.values and kind.gradients is squared.gradients:
        return mean_squared_error
    return COMPUTE.get(kind)
