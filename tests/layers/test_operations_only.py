"""Methods marked `operations_only` that do more than call operations."""

import copy
import ctypes
import pickle
import random
from dataclasses import dataclass, field
from functools import partial

import array_api_compat
import array_api_compat.numpy as xp
import numpy as np
import pytest
from devices import BACKENDS, DEVICE
from layers import test_passes
from layers.test_passes import Unrecorded

import gpunn
from gpunn.errors import ArgumentError
from gpunn.layers import BatchNorm, Chain, Dense, Dropout, operations_only

X = np.random.default_rng(0).normal(size=(40, 4))
Y = np.random.default_rng(1).normal(size=(40, 4))


@dataclass(eq=False)
class Residual(test_passes.Residual):
    """y = x + f(x); subclasses compute part of it without an operation."""

    layers: list = field(default_factory=lambda: [Dense(5, "tanh"), Dense(4)])

    name = "test_residual_of_operations"

    def __post_init__(self):
        super().__post_init__()
        self.calls = 0


def iadd(layer, x, y, ws):
    y += x


def branch(layer, x, y, ws):
    if x[0, 0] > 0:
        ws.backend.accumulate(x, y)


def branch_on_any(layer, x, y, ws):
    if (x > 0).any():
        ws.backend.accumulate(x, y)


def scaled_by_weights(layer, x, y, ws):
    norm = float(np.linalg.norm(layer.body.children()["dense_1"].values["weights"]))
    ws.backend.rescale(x, norm, 0.0, y)


def factor_of_weights(layer, x, y, ws):
    ws.backend.rescale(x, layer.body.layers[0].values["biases"][0], 0.0, y)


def count_calls(layer, x, y, ws):
    layer.calls += 1
    ws.backend.rescale(x, 1 / layer.calls, 0.0, y)


def every_second_call(layer, x, y, ws):
    layer.calls += 1
    if layer.calls % 2:
        ws.backend.accumulate(x, y)


def swallow(layer, x, y, ws):
    try:
        scale = float(x[0, 0])
    except Exception:
        scale = 1.0
    ws.backend.rescale(x, scale, 0.0, y)


def own_array(layer, x, y, ws):
    total = ws.backend.zeros(x.shape, ws.dtype)
    ws.backend.accumulate(x, total)
    ws.backend.accumulate(total, y)


def row_by_row(layer, x, y, ws):
    for row, out in zip(x, y, strict=True):
        ws.backend.accumulate(row, out)


def random_in_a_function(layer, x, y, ws):
    scale = random.random()
    ws.backend.call(lambda: y.__setitem__(..., x * scale))


def random_in_a_partial(layer, x, y, ws):
    ws.backend.call(partial(lambda s: y.__setitem__(..., x * s), random.random()))


class Doubled(Dense):
    name = "test_doubled_by_arithmetic"

    def forward(self, x, workspace):
        return x * 2


WRONG = {
    "y[...] = x": lambda layer, x, y, ws: y.__setitem__(..., x),
    "np.copyto": lambda layer, x, y, ws: np.copyto(y, x),
    "y += x": iadd,
    "x * 2": lambda layer, x, y, ws: ws.backend.assign(x * 2, y),
    "2 - x": lambda layer, x, y, ws: ws.backend.assign(2 - x, y),
    "-x": lambda layer, x, y, ws: ws.backend.assign(-x, y),
    "x == y": lambda layer, x, y, ws: ws.backend.assign(x == y, y),
    "x.sum": lambda layer, x, y, ws: ws.backend.rescale(x, x.sum(), 0.0, y),
    "np.sum": lambda layer, x, y, ws: ws.backend.rescale(x, np.sum(x), 0.0, y),
    "np.add out": lambda layer, x, y, ws: np.add(x, y, out=y),
    "np.add.at": lambda layer, x, y, ws: np.add.at(y, 0, 1.0),
    "np.matmul out": lambda layer, x, y, ws: np.matmul(x, np.eye(4), out=y),
    "np.einsum": lambda layer, x, y, ws: np.einsum("ij->ij", x, out=y),
    "np.put": lambda layer, x, y, ws: np.put(y, [0], 1.0),
    "np.where": lambda layer, x, y, ws: ws.backend.assign(np.where(x > 0, x, y), y),
    "fill": lambda layer, x, y, ws: y.fill(0.0),
    "flat": lambda layer, x, y, ws: y.flat.__setitem__(0, 1.0),
    "data": lambda layer, x, y, ws: y.data,
    "memoryview": lambda layer, x, y, ws: memoryview(y).cast("B"),
    "frombuffer": lambda layer, x, y, ws: np.frombuffer(y)[:1].fill(1.0),
    "ctypes": lambda layer, x, y, ws: ctypes.c_double.from_buffer(y),
    "asarray": lambda layer, x, y, ws: np.asarray(y).fill(0.0),
    "array": lambda layer, x, y, ws: ws.backend.assign(np.array(x), y),
    "from_dlpack": lambda layer, x, y, ws: np.from_dlpack(y).fill(0.0),
    "tolist": lambda layer, x, y, ws: x.tolist(),
    "list": lambda layer, x, y, ws: list(x),
    "float": lambda layer, x, y, ws: ws.backend.rescale(x, float(x[:1, 0]), 0.0, y),
    "fancy index": lambda layer, x, y, ws: ws.backend.assign(x[list(range(len(x)))], y),
    "mask": lambda layer, x, y, ws: x[True],
    "contains": lambda layer, x, y, ws: 0.0 in x,
    "copy": lambda layer, x, y, ws: ws.backend.accumulate(copy.copy(x), y),
    "deepcopy": lambda layer, x, y, ws: ws.backend.accumulate(copy.deepcopy(x), y),
    "pickle": lambda layer, x, y, ws: pickle.dumps(x),
    "x.copy": lambda layer, x, y, ws: ws.backend.accumulate(x.copy(), y),
    "backend.copy": lambda layer, x, y, ws: ws.backend.accumulate(ws.backend.copy(x), y),
    "copy_to": lambda layer, x, y, ws: ws.backend.copy_to(x, y),
    "to_host": lambda layer, x, y, ws: ws.backend.to_host(x),
    "from_host": lambda layer, x, y, ws: ws.backend.from_host(x),
    "xp.tanh": lambda layer, x, y, ws: ws.backend.assign(ws.backend.xp.tanh(x), y),
    "xp.sum": lambda layer, x, y, ws: ws.backend.rescale(x, float(ws.backend.xp.sum(x)), 0.0, y),
    "reshape that copies": lambda layer, x, y, ws: ws.backend.assign(np.reshape(x.T, (-1, 4)), y),
    "swallowed": swallow,
    "branch": branch,
    "branch on any": branch_on_any,
    "number from weights": scaled_by_weights,
    "one weight": factor_of_weights,
    "an array of its own": own_array,
    "zeros of its own": lambda layer, x, y, ws: ws.backend.accumulate(np.zeros((1, 4)), y),
    "outputs of a chain": lambda layer, x, y, ws: ws.outputs[layer.body][1].__imul__(2.0),
    "number of the pass": lambda layer, x, y, ws: float(ws.passes[0]),
    "rows": row_by_row,
    "an unmarked child": lambda layer, x, y, ws: Doubled(4).forward(x, ws),
    "shape": lambda layer, x, y, ws: setattr(y, "shape", (y.shape[0] * 4,)),
    "counted": count_calls,
    "every second call": every_second_call,
    "random": lambda layer, x, y, ws: ws.backend.rescale(x, random.random(), 0.0, y),
    "random in a function": random_in_a_function,
    "random in a partial": random_in_a_partial,
    "random constant": lambda layer, x, y, ws: ws.backend.fill(y, np.random.default_rng().normal()),
}


NUMPY_ALONE = {"x.sum", "fill", "flat", "data", "tolist", "x.copy", "reshape that copies"}
"""Methods that arrays of some libraries don't have."""


def fit(layers, backend, kind=gpunn.Sequential, dtype="float32"):
    model = kind(layers, 4, backend, seed=1, dtype=dtype)
    trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.Adam(1e-2))
    trainer.fit(X, Y, epochs=2, batch_size=16, progress=False)
    return model


def attempts():
    """Yield each wrong method once: the backends in turn, in the forward or the backward pass.

    A device has a third of them: what refuses them takes the place of its arrays.
    """
    for number, does in enumerate(list(WRONG)[:: 3 if DEVICE else 1]):
        backends = [
            backend
            for backend in BACKENDS
            if not (does in NUMPY_ALONE and backend.startswith("strict"))
        ]
        yield backends[number // 2 % len(backends)], does, ("add", "add_gradient")[number % 2]


@pytest.mark.parametrize(("backend", "does", "helper"), list(attempts()))
def test_other_computations_are_refused_by_method_and_line(backend, does, helper):
    wrong = type("Wrong", (Residual,), {"__module__": __name__, helper: WRONG[does]})
    method = "forward" if helper == "add" else "backward"
    expected = f"'test_residual_of_operations': {method} is marked operations_only, but"
    with pytest.raises(ArgumentError, match=expected) as caught:
        fit([Dense(4), wrong(), Dense(4)], BACKENDS[backend]())
    assert "of test_operations_only.py (" in str(caught.value)


def test_a_message_names_problem_and_remedy():
    wrong = type("Wrong", (Residual,), {"__module__": __name__, "add": iadd})
    line = iadd.__code__.co_firstlineno + 1
    with pytest.raises(ArgumentError) as caught:
        gpunn.Sequential([wrong()], 4, next(iter(BACKENDS.values()))()).predict(X)
    assert str(caught.value) == (
        "layer 'test_residual_of_operations': forward is marked operations_only, but adds to an "
        f"array in line {line} of test_operations_only.py (y += x). gpunn calls a marked "
        "method only once, with placeholders instead of arrays. Later steps repeat only the "
        "method's calls of workspace.backend. Use accumulate, or remove the mark"
    )


@dataclass(eq=False)
class Nested(Residual):
    """Nested residual layers, each of which calls the next one."""

    depth: int = 0
    name = "test_nested_residual"

    def __post_init__(self):
        super().__post_init__()
        if self.depth:
            self.body = Chain([type(self)(depth=self.depth - 1)])


def test_layers_within_layers_are_called_twice_each():
    calls = []
    counted = type("Counted", (Nested,), {"__module__": __name__, "name": "test_counted_residual"})
    counted.add = lambda self, x, y, workspace: calls.append(self.depth)
    model = gpunn.Sequential([counted(depth=8)], 4, next(iter(BACKENDS.values()))())
    model.predict(X)
    assert sorted(calls) == sorted([*range(9)] * 2)


def test_a_message_names_the_method_within():
    inner = type("Inner", (Nested,), {"__module__": __name__, "add": count_calls, "name": "inner"})
    outer = Nested()
    outer.body = Chain([inner()])
    with pytest.raises(ArgumentError, match=r"'inner': forward is .* calls rescale differently"):
        gpunn.Sequential([outer], 4, next(iter(BACKENDS.values()))()).predict(X)


class Plain(gpunn.Sequential):
    @operations_only
    def forward(self, x, workspace):
        outputs = super().forward(x, workspace)
        outputs[-1] *= 2.0
        return outputs


class PlainBackward(gpunn.Sequential):
    @operations_only
    def backward(self, outputs, gradient, workspace):
        gradient *= 2.0
        super().backward(outputs, gradient, workspace)


@pytest.mark.parametrize(("kind", "name"), [(Plain, "forward"), (PlainBackward, "backward")])
def test_a_custom_pass_of_a_network_is_also_checked(kind, name):
    with pytest.raises(ArgumentError, match=f"model: {name} is marked .* changes an array in pla"):
        fit([Dense(4)], next(iter(BACKENDS.values()))(), kind)


def by_call(layer, x, y, ws):
    ws.backend.call(lambda: y.__setitem__(..., y + x))


def by_partial(layer, x, y, ws):
    ws.backend.call(partial(lambda a, b: b.__setitem__(..., b + a), x, b=y))


def by_default(layer, x, y, ws):
    def function(out=y, *, values=x):
        out[...] = out + values

    ws.backend.call(function)


def by_functions_within(layer, x, y, ws):
    def add(depth):
        if depth:
            return add(depth - 1)
        return outer()

    def outer():
        y[...] = y + x

    ws.backend.call(partial(lambda: add(2)))
    ws.backend.call(lambda: add(1))


def by_type(layer, x, y, ws):
    if isinstance(x, type(ws.backend.zeros((1,), ws.dtype))):
        ws.backend.accumulate(x, y)


def by_methods(layer, x, y, ws):
    if type(ws.backend.zeros((1,), ws.dtype)).__module__.startswith(("numpy", "cupy")):
        x = x.transpose(1, 0).swapaxes(0, 1).ravel().reshape(-1, np.shape(x)[1])
        x = np.broadcast_to(x, y.shape)
        assert (np.ndim(x), np.size(x)) == (2, x.size)
        assert array_api_compat.array_namespace(x) is not None
    ws.backend.accumulate(x, y)


def by_views(layer, x, y, ws):
    for column in range(x.shape[1]):
        ws.backend.accumulate(x[:, column : column + 1], y[:, column : column + 1])


def by_kept_arrays(layer, x, y, ws):
    layer.kept, layer.rows = (x, y), x.shape[0]
    assert layer.rows == len(y) == y.size // 4
    assert x.dtype == y.dtype
    assert repr(x).startswith("<Placeholder") == (type(x).__name__ == "Placeholder")
    ws.backend.accumulate(*layer.kept)


def by_constant(layer, x, y, ws):
    ones = ws.constant(layer, "identity", lambda: np.eye(4), ws.dtype)
    product = ws.rows(layer, f"product {y is x}", x.shape[0], (4,))
    ws.backend.matmul(x, ones, product)
    ws.backend.accumulate(product, y)


def by_numbers(layer, x, y, ws):
    scaled = ws.rows(layer, "scaled", x.shape[0], (4,))
    ws.backend.rescale(x, 2, 0, scaled)
    ws.backend.rescale(scaled, 0.5, 0.0, scaled)
    ws.backend.accumulate(values=scaled, out=y)


RIGHT = {
    each.__name__: each
    for each in (
        *(by_call, by_partial, by_default, by_functions_within, by_type, by_methods),
        *(by_views, by_kept_arrays, by_constant, by_numbers),
    )
}


def values_of(model):
    return {**model.parameters.to_host(), "predictions": model.predict(X)}


def assert_as_written(layers, backend, kind=gpunn.Sequential):
    expected = values_of(fit(layers(), Unrecorded(xp), kind))
    for name, actual in values_of(fit(layers(), backend, kind)).items():
        np.testing.assert_allclose(actual, expected[name], 1e-4, 1e-5, err_msg=name)


@pytest.mark.parametrize("does", RIGHT)
def test_only_operations_are_recorded_unchanged(backend, does):
    body = {"__module__": __name__, "add": RIGHT[does], "add_gradient": RIGHT[does]}
    right = type("Right", (Residual,), body)
    assert_as_written(lambda: [Dense(4), right(), Dense(4)], backend)


class Tied(Residual):
    name = "test_tied"

    def __post_init__(self):
        super().__post_init__()
        self.body = Chain([Dense(4, "tanh"), BatchNorm(), Dropout(0.2), Dense(4, bias=False)])

    def parameters(self, input_shape):
        return [spec for spec in super().parameters(input_shape) if "dense_2" not in spec.name]

    def attach(self, values, gradients, key):
        super().attach(values, gradients, key)
        last = self.body.layers[-1]
        last.values = {"weights": values["body.dense_1.weights"]}
        last.gradients = {}

    def add(self, x, y, workspace):
        workspace.backend.matmul(x, self.body.layers[0].values["weights"].T, y)


def test_layers_within_may_share_parameters(backend):
    assert_as_written(lambda: [Dense(4), Tied(), Dense(4)], backend)


class Unmarked(Residual):
    """The same with methods that are called in every step."""

    name = "test_residual_of_calls"

    def forward(self, *args):
        return super().forward(*args)

    def backward(self, *args):
        return super().backward(*args)


def test_a_call_of_each_shard_has_its_place_in_the_batch():
    actual = []
    for kind in (Residual, Unmarked):
        layer = kind()
        layer.body = Chain([Dense(6), BatchNorm(), Dropout(0.5), Dense(4)])
        model = gpunn.Sequential([layer, Dense(4)], 4, "numpy", seed=1, dtype="float64")
        trainer = gpunn.Trainer(model, "mean_squared_error", shards=2, batch_norm="local")
        trainer.fit(X, Y, epochs=2, batch_size=20, progress=False)
        actual.append(model.predict(X))
    np.testing.assert_allclose(*actual, 1e-9)


class Twice(gpunn.Sequential):
    @operations_only
    def forward(self, x, workspace):
        outputs = super().forward(x, workspace)
        y = workspace.rows(self, "twice", x.shape[0], self.output_shape)
        workspace.backend.rescale(outputs[-1], 2.0, 0.0, y)
        return [*outputs[:-1], y]

    @operations_only
    def backward(self, outputs, gradient, workspace):
        workspace.backend.rescale(gradient, 2.0, 0.0, gradient)
        super().backward(outputs, gradient, workspace)


def test_a_network_with_passes_by_operations(backend):
    layers = [Dense(4), Residual(), Dense(4, "relu"), gpunn.layers.Flatten(), Dense(4)]
    assert_as_written(lambda: copy.deepcopy(layers), backend, Twice)
