"""The functions of a predictor with NumPy; exports copy the functions that a network uses.

The first axis of each x is the axis of rows. Each function has the name of the step that it
computes. Most functions also add the nodes of an ONNX graph (`gpunn.interchange.onnx_functions`).
"""

from __future__ import annotations

import base64
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

MODEL: dict[str, Any] = {}
"""Placeholder for the predictor's definition."""


def network(x: np.ndarray) -> np.ndarray:
    """Placeholder for the predictor's definition."""
    raise NotImplementedError


def exact_gelu(z: np.ndarray, root: float) -> np.ndarray:
    """Return the Gaussian error linear unit, with Python's erfc, which NumPy lacks."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return 0.5 * z * np.asarray(erfc(-root * z.astype("float64")), z.dtype)


def matmul(x: np.ndarray, W: np.ndarray) -> np.ndarray:
    return x @ W


def dense(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    return x @ W + b


def group_matmul(x: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return x[:, g] @ W[g] for each group g; x has shape (rows, groups, inputs)."""
    return np.swapaxes(np.swapaxes(x, 0, 1) @ W, 0, 1)


def taps(x: np.ndarray, window: Sequence[Sequence[int]], padding: float) -> list[np.ndarray]:
    """Return an array per window position: the pixels at this position in all outputs' windows.

    The rows of `window` are the size of x, the size of the output, the size of a window, the
    strides, the padding before x, and the dilation. Each row has a number for each image axis.
    """
    sizes, outputs, kernel, strides, starts, gaps = map(np.array, window)
    ends = (outputs - 1) * strides + (kernel - 1) * gaps + 1
    more = np.maximum(ends - starts - sizes, 0)
    if starts.any() or more.any():
        x = np.pad(x, [(0, 0), *zip(starts, more, strict=True), (0, 0)], constant_values=padding)
    parts = []
    for tap in itertools.product(*map(range, kernel)):
        first = np.array(tap) * gaps
        lasts = first + (outputs - 1) * strides + 1
        parts.append(x[(slice(None), *map(slice, first, lasts, strides))])
    return parts


def convolution(
    x: np.ndarray, W: np.ndarray, b: np.ndarray, window: Sequence[Sequence[int]], groups: int
) -> np.ndarray:
    """Return p @ W + b for each patch p. A group of units reads only one group of channels."""
    parts = taps(x, window, 0.0)
    size, units = len(W) // len(parts), len(b)
    matrices = W.reshape(len(parts), size, groups, units // groups).swapaxes(1, 2)
    pixels = (np.reshape(part, (-1, groups, size)) for part in parts)
    products = map(group_matmul, pixels, matrices)
    return np.reshape(sum(products, b.reshape(groups, -1)), (-1, *window[1], units))


def max_pool(x: np.ndarray, window: Sequence[Sequence[int]]) -> np.ndarray:
    return functools.reduce(np.maximum, taps(x, window, -math.inf))


def average_pool(x: np.ndarray, window: Sequence[Sequence[int]]) -> np.ndarray:
    first, *others = taps(x, window, 0.0)
    ones = np.ones((1, *window[0], 1), np.float32)
    return sum(others, first) / sum(taps(ones, window, 0.0))


def flatten(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), math.prod(x.shape[1:]))


def columns(x: np.ndarray, start: int, stop: int) -> np.ndarray:
    return x[:, start:stop]


def concatenate(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=-1)


def stack(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate([part[:, None] for part in parts], axis=1)


def one_hot(
    x: np.ndarray,
    columns: np.ndarray,
    codes: np.ndarray,
    second_codes: np.ndarray,
    levels: np.ndarray,
) -> np.ndarray:
    """Return each output's level: `on` for its code, `second` for its second code, else `off`."""
    cells = x[:, columns]
    off, on, second = levels
    return np.where(cells == codes, on, np.where(cells == second_codes, second, off))


def embedding(x: np.ndarray, sizes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """For each row of x, join the table's rows that its codes select.

    The first sizes[0] rows of the table are for x[:, 0], the next sizes[1] rows for x[:, 1], ...
    """
    codes = np.where((x >= 0) & (x < sizes), x, 0).astype(np.int64)
    return flatten(table[codes + (np.cumsum(sizes) - sizes)])


def log_of_mean(logarithms: np.ndarray) -> np.ndarray:
    """Return log(mean(exp(logarithms))), the mean over members, without underflow."""
    top = logarithms.max(axis=1, keepdims=True)
    return np.log(np.exp(logarithms - top).mean(axis=1)) + top[:, 0]


def mean_of_members(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=1)


def softmax(outputs: np.ndarray) -> np.ndarray:
    exponential = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


def logistic(outputs: np.ndarray) -> np.ndarray:
    """Return the probability of each label; for a single output, of class 0 and of class 1."""
    decay = np.exp(-np.abs(outputs))
    p = np.where(outputs >= 0, 1, decay) / (1 + decay)
    return p if outputs.shape[1] > 1 else np.hstack([1 - p, p])


def decoded(arrays: dict[str, tuple[str, tuple[int, ...], str]]) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(base64.b64decode(text), kind).reshape(shape)
        for name, (kind, shape, text) in arrays.items()
    }


def predict(rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """Return the outputs of the network for rows of numbers."""
    shape = tuple(MODEL["input_shape"])
    with np.errstate(all="ignore"):
        x = np.asarray(rows, MODEL["dtype"])
        if x.ndim > 2 and x.shape[1:] != shape:
            raise ValueError(f"rows: expected rows of shape {shape}; got {x.shape[1:]}")
        x = x.reshape(len(x), *shape)
        if not np.isfinite(x).all():
            raise ValueError(f"rows: expected finite numbers within the range of {MODEL['dtype']}")
        starts = range(0, max(len(x), 1), 1024)
        return np.concatenate([network(x[start : start + 1024]) for start in starts])


def probabilities(outputs: np.ndarray) -> np.ndarray:
    """Return the probability of each class or label, from the result of `predict`."""
    functions = {"softmax": softmax, "sigmoid": logistic}
    return functions[MODEL["output_activation"]](outputs)
