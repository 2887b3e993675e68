"""Formulas of layers, from which exports print functions in all languages.

The first axis of x is the axis of rows. The printed functions have the formulas' names and
docstrings, but other names of arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

from gpunn.backends.operations import Operations
from gpunn.typing import Array, Namespace, Shape

Formula: TypeAlias = Callable[..., Array]
"""Returns an array, given a namespace of array functions, then arrays."""


def define(name: str, xp: Namespace, *arguments: Any) -> None:
    """Run a backend operation's definition; the last arguments are the arrays to write."""
    getattr(Operations, name).definition(SimpleNamespace(xp=xp), *arguments)


def rescaling(xp: Namespace, x: Array, scale: float, offset: float) -> Array:
    """Return x * scale + offset."""
    y = xp.zeros_like(x)
    define("rescale", xp, x, scale, offset, y)
    return y


def standardization(xp: Namespace, x: Array, mean: Array, deviation: Array) -> Array:
    """Return (x - mean) / deviation, with statistics of the training rows."""
    y = xp.zeros_like(x)
    define("standardize", xp, x, mean, deviation, y)
    return y


def batch_norm(
    xp: Namespace,
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array,
    shift: Array,
    epsilon: float,
) -> Array:
    """Return scale * (x - mean) / sqrt(variance + epsilon) + shift, with running statistics."""
    y = xp.zeros_like(x)
    define("normalize", xp, x, mean, variance, epsilon, scale, shift, y)
    return y


def layer_norm(xp: Namespace, x: Array, scale: Array, shift: Array, epsilon: float) -> Array:
    """Return scale * (v - mean(v)) / sqrt(variance(v) + epsilon) + shift for each vector v."""
    vectors = xp.reshape(x, (-1, x.shape[-1]))
    inverse_std, normalized, y = map(xp.zeros_like, (vectors[:, :1], vectors, vectors))
    define("layer_norm", xp, vectors, scale, shift, epsilon, normalized, inverse_std, y)
    return xp.reshape(y, x.shape)


def target_scaling(xp: Namespace, x: Array, mean: Array, deviation: Array, *bounds: Array) -> Array:
    """Return x * deviation + mean, in the unit of the targets, clipped to the bounds if given."""
    y = xp.zeros_like(x)
    define("unstandardize", xp, x, mean, deviation, *(bounds or (None, None)), y)
    return y


def scale(xp: Namespace, x: Array, factors: Array) -> Array:
    """Return x * factors. The factors may differ by member."""
    return (x[:, None] if x.ndim == factors.ndim else x) * factors


def difference(xp: Namespace, x: Array, y: Array) -> Array:
    """Return the first argument minus the second one."""
    return x - y


def log_softmax(xp: Namespace, x: Array) -> Array:
    """Return log(softmax(x)), the log-probabilities of the classes, from the logits x."""
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def log_sigmoid(xp: Namespace, x: Array, sign: int) -> Array:
    """Return log(sigmoid(sign * x)): log-probability that a label is present (1) or absent (-1)."""
    z = -sign * x
    return -(xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(z))))


def shift(xp: Namespace, x: Array, b: Array) -> Array:
    """Return x + biases."""
    return x + b


def blend(xp: Namespace, x: Array, value: Array, alpha: Array) -> Array:
    """Return x + alpha * (value - x)."""
    return x + alpha * (value - x)


def cosines(xp: Namespace, x: Array, turns: Array, *phases: Array) -> Array:
    """Return cos(x[i, j] * turns[j, k]) for all i, j, k; `phases` are added before the cosine."""
    return xp.cos(sum(phases, x[:, :, None] * turns))


def sines(xp: Namespace, x: Array, turns: Array) -> Array:
    """Return sin(x[i, j] * turns[j, k]) for each row i, column j and index k."""
    return xp.sin(x[:, :, None] * turns)


def as_columns(xp: Namespace, x: Array) -> Array:
    return x[:, :, None]


def piecewise_linear(xp: Namespace, x: Array, starts: Array, *lines: Array) -> Array:
    """Return min(max(slope * (x - start), lowest), highest) for each bin of each column."""
    y = xp.zeros((x.shape[0], *starts.shape))
    define("piecewise_linear", xp, x, starts, *lines, y)
    return y


def add_lines(xp: Namespace, x: Array, z: Array, w: Array, b: Array) -> Array:
    """Return z[n, j] + w[j] * x[n, j] + b[j] for each row n and each column j of x."""
    return x[:, :, None] * w + b + z


def upsample(xp: Namespace, x: Array, size: Shape) -> Array:
    """Return x with each pixel repeated along the height and the width."""
    (rows, height, width, channels), (m, n) = x.shape, size
    pixels = xp.reshape(x, (rows, height, 1, width, 1, channels))
    repeated = xp.broadcast_to(pixels, (rows, height, m, width, n, channels))
    return xp.reshape(repeated, (rows, m * height, n * width, channels))
