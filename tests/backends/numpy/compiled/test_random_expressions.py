"""Compare random array code, compiled, with the same code in NumPy."""

import random

import array_api_compat.numpy as xp
import numpy as np
import pytest
from instructions import instructions_of

pytest.importorskip("numba")

from gpunn.backends.numpy.compiled.program import Program
from gpunn.backends.recording import Arguments
from gpunn.backends.tracing import trace_operation
from gpunn.expressions import Untraceable

SHAPES = [(6, 4), (33, 10), (64, 32), (5, 130), (300, 3), (2, 1500)]
UNARY = ["tanh", "abs", "negative", "floor", "sign", "square", "sin", "exp", "sqrt", "log1p"]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum", "divide"]
WRITTEN = ["x", "y", "row", "column", "number"]


class Reference:
    xp = xp


def arrays(seed):
    rows, columns = SHAPES[seed % len(SHAPES)]
    generator = np.random.default_rng(seed)
    shapes = [(rows, columns), (rows, columns), (columns,), (rows,), (1,)]
    named = {
        name: generator.normal(size=shape) for name, shape in zip(WRITTEN, shapes, strict=True)
    }
    labels = generator.integers(-columns, columns, rows)  # negative ones count from the end
    return named | {"labels": labels, "step": generator.integers(0, 2**40, 1)}


def unary(xp, name, a):
    if name in ("sqrt", "log1p"):
        a = xp.abs(a)
    return getattr(xp, name)(xp.minimum(a, 3.0) if name == "exp" else a)


def binary(xp, name, a, b, rows):
    """Return a function of two arrays; a number for each row becomes a column."""
    if a.ndim != b.ndim:
        a, b = (each[:, None] if each.shape == (rows,) else each for each in (a, b))
    elif a.ndim == 1 and a.shape != b.shape and 1 not in (a.shape[0], b.shape[0]):
        return a
    return getattr(xp, name)(a, 1.5 + xp.abs(b) if name == "divide" else b)


def parts(xp, a, row, choice):
    """Return arrays that have parts of the rows or columns of a matrix."""
    if choice == 0:
        return [a[row, :], a[-1]]
    if choice == 1:
        return [xp.concat([a[row:], a[:row]] if row else [a], axis=0)]
    if choice == 2:
        return [xp.stack([a[:, -1], a[:, 0]], axis=0)[1, :]]
    return [xp.concat([a[:, 1:], a[:, :1]] if a.shape[1] > 1 else [a, a], axis=1)[:, : a.shape[1]]]


def whole(integers, choices):
    """Return small integers with remainders and quotients."""
    first, second, _ = (1 + int(9 * each) for each in choices)
    return ((integers - first) // second + 3) % first - (integers // 2 % second)


def code(seed):
    choices = random.Random(seed)
    steps = [[choices.random() for _ in range(4)] for _ in range(choices.randint(3, 25))]

    def definition(backend, x, y, row, column, number, labels, step):
        xp, values = backend.xp, [x, y, row, column, number]
        written = list(values)
        for kind, *rest in steps:
            first, second, third = rest
            a, b = (values[int(each * len(values))] for each in (first, second))
            if kind < 0.25:
                values.append(unary(xp, UNARY[int(third * len(UNARY))], a))
            elif kind < 0.6:
                values.append(binary(xp, BINARY[int(third * len(BINARY))], a, b, x.shape[0]))
            elif kind < 0.68 and a.ndim == 2:
                values.append((xp.sum, xp.max, xp.min, xp.mean)[int(4 * third)](a, axis=1))
            elif kind < 0.72 and a.ndim == 2:
                values.append(xp.sum(a, axis=0))
            elif kind < 0.76:
                values.append(xp.reshape((xp.sum, xp.max)[int(2 * third)](a), (1,)))
            elif kind < 0.8 and a.ndim == 2 and a.shape[1] > 2:
                start = int(second * (a.shape[1] - 1))
                values.append(a[:, start] if third < 0.5 else a[:, start : start + 1])
            elif kind < 0.84 and a.ndim == 2:
                values += parts(xp, a, int(second * a.shape[0]), int(third * 4))
            elif kind < 0.87 and a.shape == x.shape:
                values.append(xp.take_along_axis(a, labels[:, None], axis=1)[:, 0])
            elif kind < 0.9:
                b = xp.astype(whole(step if third < 0.5 else labels, rest), x.dtype)
                values.append(binary(xp, "multiply", a, b, x.shape[0]))
            elif kind < 0.93:
                values.append(xp.where(labels[:, None] == xp.arange(x.shape[1]), x, y))
            elif kind >= 0.93:
                target = written[int(third * len(written))]
                if a.shape == target.shape:
                    target *= 0.5
                    target += a
        x[...] = xp.minimum(xp.maximum(x, -1e3), 1e3)

    return definition


@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 6000), marks=pytest.mark.full)], ids=["few", "many"]
)
def test_random_code(seeds):
    compiled = 0
    for seed in seeds:
        definition, expected, actual = code(seed), arrays(seed), arrays(seed)
        with np.errstate(all="ignore"):
            definition(Reference, **expected)
        try:
            writes = trace_operation(definition, Arguments(**actual), np.dtype(float))
        except Untraceable:  # a view of an array that has changed
            continue
        threads = 1 + seed % 3
        Program(instructions_of(writes, np.dtype(float), threads), threads)(1)
        compiled += 1
        for name, array in expected.items():
            np.testing.assert_allclose(
                actual[name], array, rtol=1e-8, atol=1e-9 * np.abs(array).max(), err_msg=f"{seed}"
            )
    assert compiled > 0.9 * len(seeds)
