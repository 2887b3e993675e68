"""The functions of a predictor without NumPy; exports copy the functions that a network uses.

Each x is one row as a flat list of floats, whatever the row's shape is. Arrays are also flat lists,
except weights (a list for each unit of each group), tables of embeddings (a list for each row), and
levels (three lists). Functions have the names of steps (`gpunn.interchange.steps`), or are called
by printed functions.
"""

from __future__ import annotations

import array
import base64
import functools
import itertools
import math
import operator
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gpunn.rows.predict_stream import flattened

MODEL: dict[str, Any] = {}
"""Placeholder for the predictor's definition."""


def network(x: list[float]) -> list[float]:
    """Placeholder for the predictor's definition."""
    raise NotImplementedError


def exact_gelu(x: list[float], root: float) -> list[float]:
    """Return the Gaussian error linear unit."""
    return [0.5 * z * math.erfc(-root * z) for z in x]


POLES: dict[object, float] = {math.log: 0.0, math.log1p: -1.0}
"""Maps a function to the argument at which the function is minus infinity."""


def real(function: Callable[[float], float], z: float) -> float:
    """Return function(z): infinite on overflow or at a pole in `POLES`, NaN outside the domain."""
    try:
        return float(function(z))
    except OverflowError:
        return math.copysign(math.inf, z)
    except ValueError:
        return -math.inf if z == POLES.get(function) else math.nan


def quotient(a: float, b: float) -> float:
    """Return a / b, which is infinite or NaN if b is 0."""
    return a / b if b else a * math.copysign(math.inf, b)


def larger(a: float, b: float) -> float:
    """Return the larger number, or NaN if a number is NaN."""
    return a if a > b or a != a else b


def smaller(a: float, b: float) -> float:
    """Return the smaller number, or NaN if a number is NaN."""
    return a if a < b or a != a else b


def sign(z: float) -> float:
    return float((z > 0) - (z < 0)) if z == z else z


def dot(x: list[float], w: list[float]) -> float:
    return float(sum(map(operator.mul, x, w)))


def matmul(x: list[float], weights: list[list[float]]) -> list[float]:
    """Return v @ W for each vector v in x; x is one vector, or several concatenated vectors."""
    inputs = len(weights[0])
    parts = [x[start : start + inputs] for start in range(0, len(x), inputs)]
    return [dot(part, w) for part in parts for w in weights]


def dense(x: list[float], weights: list[list[float]], b: list[float]) -> list[float]:
    """Return v @ W + b for each vector v in x; x is one vector, or several concatenated vectors."""
    z = matmul(x, weights)
    return [value + b[index % len(b)] for index, value in enumerate(z)]


def group_matmul(x: list[float], weights: list[list[list[float]]]) -> list[float]:
    """Return x_g @ W_g for each group g."""
    inputs = len(weights[0][0])
    parts = [x[start : start + inputs] for start in range(0, len(x), inputs)]
    return [dot(part, w) for part, group in zip(parts, weights, strict=True) for w in group]


def windows(
    x: list[float], window: Sequence[Sequence[int]]
) -> Iterator[list[tuple[int, list[float]]]]:
    """For each output, yield a list of (index, pixel) for the pixels in the output's window.

    The index is the pixel's position in the window; positions in the padding are left out.
    `window` has six sequences, each with one number per axis. The first three are the sizes of x,
    of the output and of the window. Strides, padding before x, and dilation follow.
    """
    channels = len(x) // math.prod(window[0])
    for output in itertools.product(*map(range, window[1])):
        pixels = []
        for number, tap in enumerate(itertools.product(*map(range, window[2]))):
            index, inside = 0, True
            for i, k, size, _, _, stride, start, gap in zip(output, tap, *window, strict=True):
                position = i * stride - start + k * gap
                index, inside = index * size + position, inside and 0 <= position < size
            if inside:
                pixels.append((number, x[index * channels : (index + 1) * channels]))
        yield pixels


def convolution(
    x: list[float],
    weights: list[list[float]],
    b: list[float],
    window: Sequence[Sequence[int]],
    groups: int,
) -> list[float]:
    """Return p @ W + b for each patch p. A group of units reads only one group of channels."""
    size = len(weights[0]) // math.prod(window[2])
    group = len(b) // groups
    y = []
    for pixels in windows(x, window):
        patches = [[0.0] * len(weights[0]) for _ in range(groups)]
        for number, pixel in pixels:
            for index, patch in enumerate(patches):
                part = pixel[index * size : (index + 1) * size]
                patch[number * size : (number + 1) * size] = part
        y += [dot(patches[u // group], w) + b[u] for u, w in enumerate(weights)]
    return y


def pools(x: list[float], window: Sequence[Sequence[int]]) -> Iterator[tuple[float, ...]]:
    """For each output pixel and each channel, yield the channel's numbers in the pixel's window."""
    for pixels in windows(x, window):
        yield from zip(*(pixel for _, pixel in pixels), strict=True)


def max_pool(x: list[float], window: Sequence[Sequence[int]]) -> list[float]:
    return [functools.reduce(larger, pool) for pool in pools(x, window)]


def average_pool(x: list[float], window: Sequence[Sequence[int]]) -> list[float]:
    return [sum(pool) / len(pool) for pool in pools(x, window)]


def flatten(x: list[float]) -> list[float]:
    """Return x: a row is already a flat list."""
    return x


def columns(x: list[float], start: int, stop: int) -> list[float]:
    return x[start:stop]


def concatenate(*parts_and_count: Any) -> list[float]:
    """Join the parts vector by vector; the last argument is the number of vectors in each part."""
    *parts, count = parts_and_count
    y: list[float] = []
    for index in range(count):
        for part in parts:
            size = len(part) // count
            y += part[index * size : (index + 1) * size]
    return y


def stack(*parts: list[float]) -> list[float]:
    return [number for part in parts for number in part]


def one_hot(
    x: list[float],
    columns: list[int],
    codes: list[int],
    second_codes: list[int],
    levels: list[list[float]],
) -> list[float]:
    """Return each output's level: `on` for its code, `second` for its second code, else `off`."""
    return [
        on if x[column] == code else second if x[column] == second_code else off
        for column, code, second_code, off, on, second in zip(
            columns, codes, second_codes, *levels, strict=True
        )
    ]


def embedding(x: list[float], sizes: list[int], table: list[list[float]]) -> list[float]:
    """Concatenate the rows of `table` for the codes in x; the first sizes[0] rows are for x[0]."""
    numbers, start = [], 0
    for code, size in zip(x, sizes, strict=True):
        numbers += table[start + (int(code) if 0 <= code < size else 0)]
        start += size
    return numbers


def log_of_mean(x: list[float], members: int) -> list[float]:
    """Return log(mean(exp(x))), the mean over members, without underflow."""
    y, outputs = [], len(x) // members
    for output in range(outputs):
        logarithms = x[output::outputs]
        top = max(logarithms)
        total = sum(math.exp(each - top) for each in logarithms)
        y.append(math.log(total / members) + top)
    return y


def mean_of_members(x: list[float], members: int) -> list[float]:
    outputs = len(x) // members
    return [sum(x[output::outputs]) / members for output in range(outputs)]


def softmax(outputs: list[float]) -> list[float]:
    top = max(outputs)
    exponential = [math.exp(z - top) for z in outputs]
    total = sum(exponential)
    return [each / total for each in exponential]


def logistic(outputs: list[float]) -> list[float]:
    """Return the probability of each label; for a single output, of class 0 and of class 1."""
    decay = [math.exp(-abs(z)) for z in outputs]
    p = [(1 if z >= 0 else d) / (1 + d) for z, d in zip(outputs, decay, strict=True)]
    return p if len(p) > 1 else [1 - p[0], p[0]]


def decoded(arrays: dict[str, tuple[str, tuple[int, ...], str]]) -> dict[str, Any]:
    """Decode arrays to lists, from their types, their shapes, and their bytes in base64."""
    return {
        name: nested(numbers(kind[1:], base64.b64decode(text)), shape)
        for name, (kind, shape, text) in arrays.items()
    }


def numbers(kind: str, content: bytes) -> list[Any]:
    """Return the numbers in little-endian bytes: floats of 4 or 8 bytes, or integers of 4 bytes."""
    values: array.array[Any] = array.array({"f4": "f", "f8": "d", "i4": "i"}[kind], content)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def nested(values: list[Any], shape: Sequence[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def rounded(row: Sequence[Any]) -> list[float]:
    """Return a row as finite numbers in the network's precision, or raise a ValueError."""
    shape = MODEL["input_shape"]
    row, count = flattened(row, shape), math.prod(shape)
    kind = f"<{count}f" if MODEL["dtype"] == "float32" else f"<{count}d"
    try:
        values = struct.unpack(kind, struct.pack(kind, *row))
    except OverflowError:
        values = (math.inf,)
    except struct.error:
        raise ValueError(
            f"rows: expected {count} numbers in each row, or rows of shape {shape}"
        ) from None
    if not all(map(math.isfinite, values)):
        raise ValueError(f"rows: expected finite numbers within the range of {MODEL['dtype']}")
    return list(values)


def predict(rows: Sequence[Sequence[Any]]) -> list[list[float]]:
    """Return the outputs of the network for rows of numbers."""
    return [network(rounded(row)) for row in rows]


def probabilities(outputs: list[list[float]]) -> list[list[float]]:
    """Return the probability of each class or label, from the result of `predict`."""
    functions = {"softmax": softmax, "sigmoid": logistic}
    return [functions[MODEL["output_activation"]](row) for row in outputs]
