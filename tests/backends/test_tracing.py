"""Test tracing: which code becomes which graph, and which code is refused."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from gpunn import activations
from gpunn.backends.recording import Arguments
from gpunn.backends.tracing import trace_operation
from gpunn.expressions import Untraceable
from gpunn.expressions.graph import in_order

X = np.arange(12, dtype=np.float32).reshape(4, 3)
ROW, WEIGHTS = np.ones(3, np.float32), np.ones(4, np.float32)
LABELS = np.array([0, 2, 1, 0])
FOREIGN = np.ones((4, 3), np.float32)


def traced(function, **arrays):
    """Trace out[...] = function(xp, x, ...)."""

    def definition(backend, x, out, **others):
        out[...] = function(backend.xp, x, **others)

    arguments = Arguments(x=X.copy(), out=np.empty_like(X), **arrays)
    (write,) = trace_operation(definition, arguments, X.dtype)
    assert write.array is arguments.out
    return write.node


def functions(node):
    return [each.op for each in in_order([node]) if each.op not in ("array", "number")]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda xp, x: x / (1 + xp.exp(-x)), ["sigmoid", "multiply"]),
        (lambda xp, x: xp.log(1 + xp.exp(x)), ["softplus"]),
        (lambda xp, x: xp.log1p(xp.exp(x)), ["softplus"]),
        (lambda xp, x: activations.softplus(xp, x), ["softplus"]),
        (lambda xp, x: xp.tanh(xp.log1p(xp.exp(x))), ["tanh_softplus"]),
        (lambda xp, x: 0.5 * xp.tanh(0.5 * x) + 0.5, ["sigmoid"]),
        (lambda xp, x: xp.log(1 / (1 + xp.exp(x))), ["softplus", "negative"]),
        (lambda xp, x: 2 * x * 3, ["multiply"]),
        (lambda xp, x: x / 2 * (1 + xp.tanh(x)), ["multiply", "sigmoid", "multiply"]),
        (lambda xp, x: (x / 2) * (x * 2), ["multiply"]),
        (lambda xp, x: x / 4, ["multiply"]),
        (lambda xp, x: 1 - 0.9**x, ["multiply", "expm1", "negative"]),
        (lambda xp, x: x**3, ["multiply", "multiply"]),
        (lambda xp, x: x**-0.5, ["sqrt", "divide"]),
        (lambda xp, x: xp.exp(x) + xp.exp(x), ["exp", "add"]),  # computed once
    ],
)
def test_functions_are_rewritten(function, expected):
    assert functions(traced(function)) == expected


@dataclass(frozen=True)
class Counting(activations.Activation):
    name = "counting"

    def value(self, xp, z):
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        return z


class Remembering(activations.Activation):
    def __init__(self):
        self.seen = []

    def value(self, xp, z):
        self.seen.append(1)
        return z


def swallow(xp, x):
    try:
        return x if x[0, 0] else -x
    except Exception:
        return x


def viewed(xp, x):
    y = x + 1
    column = y[:, :1]
    y += 1
    return y + column


def row_that_changes(xp, x):
    row = xp.sum(x, axis=0)
    rows = xp.broadcast_to(row, x.shape)
    row += 1
    return rows


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda xp, x: x if x.sum() else -x, "attribute sum"),
        (lambda xp, x: x if (x > 0)[0, 0] else -x, "reads elements"),
        (lambda xp, x: x[x > 0], "use xp.take or .* and xp.where for a condition"),
        (swallow, "reads elements"),
        (lambda xp, x: x * float(xp.max(x)), "reads elements"),
        (lambda xp, x: sum(row for row in x), "reads elements"),
        (lambda xp, x: x + FOREIGN, "type ndarray"),
        (lambda xp, x: FOREIGN * x, "type ndarray"),
        (lambda xp, x: x * np.float32(2), "type float32"),
        (lambda xp, x: np.exp(x), "function of NumPy"),
        (lambda xp, x: x * random.random(), "result changes"),
        (lambda xp, x: x if isinstance(x, np.ndarray) else -x, "class of an array"),
        (lambda xp, x: x if isinstance(x, Sequence) else -x, "class of an array"),
        (lambda xp, x: x if x.__class__ is np.ndarray else -x, "class of an array"),
        (lambda xp, x: x if hasattr(x, "__array_interface__") else -x, "__array_interface__"),
        (lambda xp, x: x if hasattr(x, "__cuda_array_interface__") else -x, "__cuda_array"),
        (lambda xp, x: x if xp.__name__ == "numpy" else -x, "__name__"),
        (lambda xp, x: xp.sort(x, axis=1), "xp.sort"),
        (lambda xp, x: xp.cumulative_sum(x, axis=1), "xp.cumulative_sum"),
        (lambda xp, x: x[::2], "a slice must have step 1"),
        (lambda xp, x: x[4], "out of bounds"),
        (lambda xp, x: xp.concat([x] * 65), "more than 64 arrays"),
        (lambda xp, x: xp.concat([x, x], axis=2), "out of bounds"),
        (lambda xp, x: xp.concat([x, x[:, :2]]), r"\(4, 3\), \(4, 2\) along axis 0"),
        (lambda xp, x: x % 3, "only supported for integers"),
        (lambda xp, x: xp.arange(3) % x, "only supported for integers"),
        (lambda xp, x: x + xp.arange(3) * xp.arange(3) // 2, "products of integers"),
        (lambda xp, x: x + (xp.arange(3) + 2**21) // 3, "numbers above 1,048,576"),
        (lambda xp, x: xp.take_along_axis(x, x, axis=1), "integer indices"),
        (lambda xp, x: xp.take_along_axis(x, xp.argmax(x, 1)[None], axis=0), "along the last axis"),
        (lambda xp, x: x @ x, "matrix product"),
        (lambda xp, x: x**17, "integer power"),
        (lambda xp, x: xp.sum(x, axis=-3), "out of bounds"),
        (lambda xp, x: xp.expand_dims(x, axis=3), "out of bounds"),
        (lambda xp, x: xp.sum(x, axis=1, dtype=xp.int64), "xp.sum of float.* with dtype=int64"),
        (row_that_changes, "view"),
        (lambda xp, x: xp.max(x > 0, axis=1)[:, None], "maximum of integers"),
        (lambda xp, x: -(x > 0) * x, "Boolean"),
        (viewed, "view"),
        (lambda xp, x: Counting().value(xp, x) / 0.0 + random.random(), "result changes"),
    ],
)
def test_code_that_could_give_wrong_results_is_refused(function, reason):
    with pytest.raises(Untraceable, match=reason):
        traced(function)


@pytest.mark.parametrize("activation", [Counting(), Remembering()])
def test_an_object_that_changes_is_refused_and_stays_unchanged(activation):
    def definition(backend, f, x, out):
        out[...] = f.value(backend.xp, x)

    before = dict(vars(activation), seen=list(getattr(activation, "seen", [])))
    with pytest.raises(Untraceable, match="changes attributes"):
        trace_operation(definition, Arguments(f=activation, x=X, out=X.copy()), X.dtype)
    assert dict(vars(activation), seen=list(getattr(activation, "seen", []))) == before


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"y": X.astype(np.float64)}, "float64, but other arrays have float32"),
        ({"y": np.empty((4, 6), np.float32)[:, ::2]}, "contiguous"),
        ({"y": X[:2], "whole": X}, "overlap"),
        ({"y": np.empty((0, 3), np.float32)}, "empty"),
    ],
)
def test_arrays_that_kernels_can_not_read_are_refused(arrays, reason):
    with pytest.raises(Untraceable, match=reason):
        traced(lambda xp, x, **others: x, **arrays)


def test_a_change_of_integers_is_refused():
    def definition(backend, counter, x, out):
        counter += 1
        out[...] = x

    arguments = Arguments(counter=np.zeros(1, np.int64), x=X, out=X.copy())
    with pytest.raises(Untraceable, match="integers"):
        trace_operation(definition, arguments, X.dtype)


def test_an_array_in_an_attribute_is_read_in_each_step():
    """A scheduled setting is such an array; a schedule changes it in place."""

    class Scaled(activations.Activation):
        name = "scaled"

        def value(self, xp, z):
            return self.factor * z

    activation = Scaled()
    activation.factor = np.ones(1, np.float32)

    def definition(backend, f, x, out):
        out[...] = f.value(backend.xp, x)

    (write,) = trace_operation(definition, Arguments(f=activation, x=X, out=X.copy()), X.dtype)
    sources = [each.data for each in in_order([write.node]) if each.op == "array"]
    assert any(each is activation.factor for each in sources)


def test_asarray_returns_the_array_itself():
    def function(xp, x):
        same, copied = xp.asarray(x), xp.asarray(x, copy=True)
        same += 1
        return x + copied

    def definition(backend, x, out):
        out[...] = function(backend.xp, x)

    writes = trace_operation(definition, Arguments(x=X.copy(), out=X.copy()), X.dtype)
    assert len(writes) == 2


def test_random_numbers_are_those_without_a_trace():
    def numbers():
        return random.random(), np.random.random()  # noqa: NPY002 - what users may call

    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    expected = numbers()
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    with pytest.raises(Untraceable, match="result changes"):
        traced(lambda xp, x: x * sum(numbers()))
    assert numbers() == expected
