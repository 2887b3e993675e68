"""Custom layers in recorded passes: their results, and which passes are recorded."""

import functools
from dataclasses import dataclass

import array_api_compat.numpy
import numpy as np
import pytest
from training_steps import step_of

import gpunn
from gpunn.backends import Backend
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.numpy.compiled import CompiledBackend
from gpunn.data.batches import DeviceRows
from gpunn.errors import ArgumentError
from gpunn.layers import Chain, Dense, Dropout, Layer, operations_only
from gpunn.layers.base import family


class Transposed(Layer):
    name = "test_transposed"

    def output_shape(self, input_shape):
        return input_shape[::-1]

    @operations_only
    def forward(self, x, workspace):
        return workspace.backend.xp.permute_dims(x, (0, 2, 1))

    @operations_only
    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return workspace.backend.xp.permute_dims(gradient, (0, 2, 1))


class Same(Dense):
    name = "test_same"


class Fresh(Layer):
    name = "test_fresh"

    def forward(self, x, workspace):
        return 0.5 * x

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return 0.5 * gradient


class Buffered(Fresh):
    """Return a buffer, and its argument `gradient`."""

    name = "test_buffered"

    def forward(self, x, workspace):
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        y[...] = 0.5 * x
        return y

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        gradient *= 0.5
        return gradient


class Untouched(Layer):
    name = "test_untouched"

    def forward(self, x, workspace):
        return x

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return gradient


class Pairs(Layer):
    """Add neighbors, which halves the length of a row."""

    name = "test_pairs"

    def output_shape(self, input_shape):
        return (input_shape[0] // 2,)

    def forward(self, x, workspace):
        return x[:, ::2] + x[:, 1::2]

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return workspace.backend.xp.repeat(gradient, 2, axis=1)


class Doubled(Dense):
    """Extend the passes of its base by calling them."""

    name = "test_doubled"

    def forward(self, x, workspace):
        return 2 * super().forward(x, workspace)

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return super().backward(x, y / 2, 2 * gradient, workspace, wants_input_gradient)


class Negated(Dense):
    """Inherit the passes, but change an attribute that they read."""

    name = "test_negated"

    @property
    def values(self):
        return {name: -value for name, value in self.own.items()}

    @values.setter
    def values(self, values):
        self.own = values


@dataclass(eq=False)
class Residual(Layer):
    """y = x + f(x), by operations."""

    layers: list

    name = "test_residual"

    def __post_init__(self):
        super().__post_init__()
        self.body = Chain(self.layers)

    def children(self):
        return {"body": self.body}

    def add(self, x, y, workspace):
        workspace.backend.accumulate(x, y)

    def add_gradient(self, x, y, workspace):
        workspace.backend.accumulate(x, y)

    @operations_only
    def forward(self, x, workspace):
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.assign(self.body.forward(x, workspace), y)
        self.add(x, y, workspace)
        return y

    @operations_only
    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        kept = workspace.rows(self, "gradient", x.shape[0], x.shape[1:])
        workspace.backend.assign(gradient, kept)
        gradient = self.body.backward(x, y, gradient, workspace, wants_input_gradient)
        if wants_input_gradient:
            self.add_gradient(kept, gradient, workspace)
        return gradient


class PlainResidual(Residual):
    """The same with arithmetic on arrays."""

    name = "test_plain_residual"

    def forward(self, x, workspace):
        return x + self.body.forward(x, workspace)

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        kept = workspace.backend.copy(gradient)
        return kept + self.body.backward(x, y, gradient, workspace, True)


class PlainForward(Residual):
    """The forward pass uses operations, the backward pass arithmetic."""

    name = "test_plain_forward"
    forward = PlainResidual.forward


class PlainBackward(Residual):
    """The forward pass uses arithmetic, the backward pass operations."""

    name = "test_plain_backward"
    backward = PlainResidual.backward


class Wrapped(Doubled):
    """Copy the docstrings of its base by functools.wraps, which also copies attributes."""

    name = "test_wrapped"

    @functools.wraps(Dense.forward)
    def forward(self, x, workspace):
        return super().forward(x, workspace)

    @functools.wraps(Dense.backward)
    def backward(self, *arguments):
        return super().backward(*arguments)


class Branching(gpunn.Sequential):
    """A network with custom passes."""

    def forward(self, x, workspace):
        outputs = super().forward(x, workspace)
        return [*outputs[:-1], 2 * outputs[-1]]

    def backward(self, outputs, gradient, workspace):
        super().backward([*outputs[:-1], outputs[-1] / 2], 2 * gradient, workspace)


class OwnBackward(gpunn.Sequential):
    def backward(self, outputs, gradient, workspace):
        super().backward(outputs, gradient, workspace)


NETWORKS = {
    "same": lambda: [Same(8, "relu"), Dense(3)],
    "fresh": lambda: [Dense(8, "relu"), Fresh(), Dense(3)],
    "buffered": lambda: [Dense(8, "tanh"), Buffered(), Dense(3)],
    "untouched": lambda: [Dense(8, "relu"), Untouched(), Dense(3)],
    "pairs": lambda: [Dense(8), Pairs(), Dense(3)],
    "doubled": lambda: [Doubled(8, "relu"), Dense(3)],
    "negated": lambda: [Negated(8, "relu"), Dense(3)],
    "last": lambda: [Dense(6, "relu"), Dense(6), Pairs()],
    "first": lambda: [Fresh(), Dense(6, "relu"), Dense(3)],
    "chain": lambda: [Chain([Dense(8, "relu"), Chain([Dropout(0.2), Dense(5)])]), Dense(3)],
    "residual": lambda: [Dense(6, "relu"), Residual([Dense(9, "gelu"), Dense(6)]), Dense(3)],
    "residual first": lambda: [Residual([Dense(9, "gelu"), Fresh(), Dense(6)]), Dense(3)],
    "plain residual": lambda: [PlainResidual([Dense(9, "relu"), Dense(6)]), Dense(3)],
    "plain forward": lambda: [PlainForward([Dense(9, "relu"), Dense(6)]), Dense(3)],
    "plain backward": lambda: [PlainBackward([Dense(9, "relu"), Dense(6)]), Dense(3)],
    "wrapped": lambda: [Wrapped(8, "relu"), Dense(3)],
}

ENGINES = {
    "replayed": lambda: Backend(array_api_compat.numpy),
    "bound": NumpyBackend,
    "compiled": lambda: CompiledBackend(2),
}

X = np.random.default_rng(0).normal(size=(50, 6))
LABELS = np.random.default_rng(1).integers(0, 3, 50)


def trained(network, backend, kind=gpunn.Sequential):
    model = kind(NETWORKS[network](), 6, backend, seed=2, dtype="float64")
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", gpunn.optimizers.Adam(1e-2))
    trainer.fit(X, LABELS, epochs=3, batch_size=16, validation_data=(X, LABELS), progress=False)
    return {
        **model.parameters.to_host(),
        "loss": np.array([trainer.history["loss"], trainer.history["val_loss"]]),
        "predictions": model.predict(X),
        "of one row": model.predict(X[:1]),
    }


class Unrecorded(Backend):
    """Call each method in each step, and record nothing."""

    def recorded(self, operations):
        return lambda times: [operations() for _ in range(times)]

    def recorded_function(self, function, x):
        return function


def by_hand(network, kind):
    return trained(network, Unrecorded(array_api_compat.numpy), kind)


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        *((network, gpunn.Sequential) for network in NETWORKS),
        ("chain", Branching),
        ("chain", OwnBackward),
    ],
)
def test_recorded_training_is_that_which_is_written(network, kind):
    expected = by_hand(network, kind)
    for name, make in ENGINES.items():
        for key, actual in trained(network, make(), kind).items():
            np.testing.assert_allclose(actual, expected[key], 1e-8, 1e-9, err_msg=f"{name}, {key}")


def trace_of(layers):
    backend, traces = CompiledBackend(1), []
    backend.lower = lambda trace: traces.append(trace) or (lambda times: None)
    model = gpunn.Sequential(layers, 6, backend)
    step = step_of(gpunn.Trainer(model, "softmax_cross_entropy"))
    order = np.arange(8)
    step.load(DeviceRows(np.zeros((8, 6), np.float32), order % 3, None, order, 8))
    step.update(8)
    return [one.name for one in traces[0]]


def test_a_subclass_that_inherits_the_passes_is_recorded_as_its_base():
    assert trace_of([Same(8, "relu"), Same(3)]) == trace_of([Dense(8, "relu"), Dense(3)])


def test_a_custom_layer_is_one_call_among_the_operations():
    assert trace_of([Dense(8, "relu"), Buffered(), Dense(3)]) == [
        *("next_batch", "dense", "call", "dense", "loss"),
        *("dense_gradient", "call", "dense_gradient", "counted_update"),
    ]


def test_layers_within_layers_are_recorded_one_by_one():
    names = trace_of([Residual([Dense(9, "gelu"), Fresh(), Dense(6)]), Dense(3)])
    assert names[1:8] == ["dense", "call", "dense", "assign", "accumulate", "dense", "loss"]


class Crooked(Fresh):
    name = "test_crooked"

    def forward(self, x, workspace):
        return workspace.backend.xp.sum(x, axis=1)


class Nothing(Fresh):
    name = "test_nothing"

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        pass


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Crooked, r"layer 'test_crooked': forward returned shape \(8,\); expected shape \(8, 4\)"),
        (Nothing, r"layer 'test_nothing': backward returned no array; expected shape \(8, 4\)"),
    ],
)
def test_a_result_of_another_shape_is_refused(layer, message):
    model = gpunn.Sequential([Dense(4), layer(), Dense(3)], 6, "numpy")
    trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    with pytest.raises(ArgumentError, match=message):
        trainer.fit(X[:8], LABELS[:8], batch_size=8, progress=False)


@dataclass(eq=False)
class Factors(Layer):
    factors: list

    name = "test_factors"

    def __post_init__(self):
        super().__post_init__()
        self.shift = 0.0  # no field

    @operations_only
    def forward(self, x, workspace):
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.rescale(x, float(np.prod(self.factors)), self.shift, y)
        return y

    @operations_only
    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        workspace.backend.rescale(gradient, float(np.prod(self.factors)), 0.0, gradient)
        return gradient


@pytest.mark.parametrize(
    "do",
    [
        lambda layer: layer.factors.append(0.0),
        lambda layer: layer.factors.__setitem__(0, 0.0),
        lambda layer: setattr(layer, "factors", [0.0]),
        lambda layer: setattr(layer, "shift", 9.0),
    ],
)
@pytest.mark.parametrize("layer", [lambda one: one, lambda one: Residual([dict(one.config())])])
def test_a_changed_field_is_recorded_again(do, layer):
    model = gpunn.Sequential([layer(Factors([0.5, 2.0]))], 6, "numpy")
    before = model.predict(X)
    [factors] = [each for each in family(*model.layers) if each.name == "test_factors"]
    do(factors)
    assert abs(model.predict(X) - before).min() > 0
    factors.factors, factors.shift = [0.5, 2.0], 0.0
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("engine", ENGINES)
def test_flattening_copies_in_each_pass_where_it_must(engine):
    layers = [Transposed(), gpunn.layers.Flatten()]
    model = gpunn.Sequential(layers, (2, 3), ENGINES[engine](), dtype="float64")
    for factor in (1, 2):
        rows = factor * X.reshape(-1, 2, 3)
        expected = rows.swapaxes(1, 2).reshape(-1, 6)
        np.testing.assert_array_equal(model.predict(rows), expected)


class Counted(Dropout):
    name = "test_counted"

    @property
    def rate(self):
        return float(self._rate) + 0.0

    @rate.setter
    def rate(self, value):
        self._rate = value


def test_equal_numbers_are_not_recorded_again():
    model, made = gpunn.Sequential([Dense(4), Counted(0.3)], 6, "numpy"), []
    original = model.backend.recorded_function
    model.backend.recorded_function = lambda *given: made.append(1) or original(*given)
    for _ in range(3):  # alternate full batches and a smaller last one
        model.predict(X, batch_size=16)
    assert len(made) == 2


@pytest.mark.parametrize("base", [NumpyBackend, CompiledBackend])
@pytest.mark.parametrize(("name", "calls"), [("update", 3 * 4), ("matmul", 88)])
def test_an_override_of_an_operation_takes_its_place(base, name, calls):
    seen = []

    def override(self, *arguments, **options):
        if isinstance(self, base):  # it may also be traced, which is refused
            seen.append(1)
        getattr(base, name)(self, *arguments, **options)

    override.__name__ = name
    watched = type("Watched", (base,), {name: gpunn.backends.operation(override)})
    trained("fresh", watched())
    assert len(seen) == calls


class Override:
    def update(self, *arguments):
        pass


def copied(self, *arguments):
    pass


@pytest.mark.parametrize(
    ("bases", "members"),
    [
        ((NumpyBackend,), {"update": Override.update}),
        ((NumpyBackend,), {"update": functools.wraps(NumpyBackend.update)(copied)}),
        ((Override, NumpyBackend), {}),
    ],
)
def test_an_override_that_is_no_operation_is_refused(bases, members):
    with pytest.raises(gpunn.errors.ArgumentTypeError, match=r"\.update: overrides an operation"):
        type("Bare", bases, members)
