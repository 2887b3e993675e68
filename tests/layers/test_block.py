"""Blocks: what their formulas may contain, what happens to inner layers, and how they run."""

import copy
import pickle
import random
from dataclasses import dataclass, field

import numerical
import numpy as np
import pytest
from calls import Calls
from layers.blocks import BLOCKS, Gate, Normed, Shortcuts, Twice
from layers.checking import attached, prepared, recorded_passes
from layers.test_passes import Buffered, Fresh
from training_steps import recorded_step

import gpunn
from gpunn import layers
from gpunn.backends import Backend
from gpunn.errors import ArgumentError, ArgumentTypeError, SettingError
from gpunn.expressions import in_order
from gpunn.initializers import Ones
from gpunn.layers import Block, Chain, Dense, Layer
from gpunn.parameters import ParameterSpec
from gpunn.workspace import Workspace

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 4)).astype(np.float32)
Y = X[:, :1] * X[:, 1:2]


def network(*inner, backend="numpy", **options):
    return gpunn.Sequential([*inner, Dense(1)], 4, backend, **options)


def trained(model, **options):
    trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.Adam(0.01))
    trainer.fit(X, Y, **{"epochs": 2, "batch_size": 16, "progress": False, **options})
    return trainer


def values(model):
    return model.parameters.to_host()


def block(formula, **attributes):
    made = type("Made", (Block,), {"forward": formula, "name": "test_made"})()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def counted(self, x):
    self.count = getattr(self, "count", 0) + 1
    return x


KEPT = []


def kept(self, x):
    KEPT.append(x)
    return x


REFUSED = {
    "reads elements": lambda self, x: x if x[:, 0] > 0 else -x,
    "a function of NumPy": lambda self, x: np.tanh(x),
    "result changes when it runs again": lambda self, x: x * float(RANDOM.random()),
    "combines several rows": lambda self, xp, x: x - xp.mean(x, axis=0),
    r"result changes when it runs again\.": lambda self, x: x * random.random(),
    "depend on the number of rows": lambda self, x: x / x.shape[0],
    "value of type ndarray .* functions of xp": lambda self, x: x * np.ones(4, np.float32),
    r"attribute sum of an array is not supported; use xp\.sum": lambda self, x: x / x.sum(axis=1),
    r"xp\.split is not supported; write slices": lambda self, xp, x: xp.split(x, 2),
    "the attribute T of an array with rows": lambda self, x: x.T,
    "xp.sort": lambda self, xp, x: xp.sort(x),
    "but is not an attribute": lambda self, x: Dense(4)(x),
    "a matrix product must be x @ W .* parameters": lambda self, x: x @ x,
    "xp.concat along the first axis combines several rows": lambda self, xp, x: xp.concat(
        [x, x], axis=0
    ),
    "the code combines several rows": lambda self, xp, x: x - x[0],
    "expected an array as the result; got float": lambda self, x: 1.0,
    "the result must be an array with numbers for each row": lambda self, x: x > 0,
    r"the first factor of a matrix product must be .*write x @ U @ V": lambda self, xp, x: (
        xp.zeros((4, 4)) @ x
    ),
    "changes attributes": counted,
    "an attribute of type set": lambda self, x: x,
    "stores arrays": kept,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_a_formula_must_not_contain(reason):
    with pytest.raises(ArgumentError, match=f"Made: forward can't be traced: .*{reason}") as caught:
        network(block(REFUSED[reason], **({"seen": {1}} if "set" in reason else {})))
    assert "derive it from gpunn.layers.Layer" in str(caught.value)


def test_code_that_depends_on_a_small_number_of_rows():
    model = network(block(lambda self, x: x * 2 if x.shape[0] < 100 else x))
    with pytest.raises(ArgumentError, match="results depend on the number of rows"):
        trained(model)


def test_one_row():
    def forward(self, xp, x):
        mean = xp.mean(x, axis=1, keepdims=True)
        return mean * 2.0 + xp.min(x, axis=1, keepdims=True) * xp.arange(4, dtype=x.dtype)

    def of_parts(self, xp, x):
        parts = xp.reshape(x, (x.shape[0], 2, 2)) * xp.asarray([[1.0, 2.0]], dtype=x.dtype)
        joined = xp.concat([parts, xp.tanh(parts[:, 1:, :])], axis=1)
        return xp.concat([xp.sum(joined, axis=1), xp.max(joined, axis=1)], axis=1)

    for each in (forward, of_parts):
        model, twin = network(block(each)), network(block(each), backend=Backend(np))
        assert np.allclose(model.predict(X[:1]), twin.predict(X[:1]), rtol=1e-5)
        trained(model, batch_size=len(X) - 1)


def test_derivatives_of_the_largest_quotient():
    """A maximum has the bits of one element, also if the derivative computes elements again."""

    def forward(self, xp, x):
        inside = x / (1 + xp.abs(xp.min(x, axis=1, keepdims=True)))
        largest, least = (
            xp.max(inside, axis=1, keepdims=True),
            xp.min(inside, axis=1, keepdims=True),
        )
        return inside / (2 + largest * least)

    rows = np.random.default_rng(0).normal(size=(40, 15))
    weights = []
    for backend in ("numpy", Backend(np)):
        parts = [Dense(15), block(forward), Dense(2)]
        model = gpunn.Sequential(parts, 15, backend, seed=1, dtype="float64")
        trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(1.0))
        trainer.fit(rows, rows[:, :2], epochs=1, batch_size=40, progress=False)
        weights.append(values(model)["dense_1.weights"])
    np.testing.assert_allclose(*weights, rtol=1e-9, atol=1e-9)


OWN = []


def test_a_global_variable_may_contain_the_block():
    OWN[:] = [block(lambda self, x: x * len(OWN))]
    assert np.array_equal(network(*OWN).layers[0].traced((4,)).x.shape[1:], (4,))


class Excited(Block):
    """Images whose channels are multiplied by functions of their means."""

    name = "test_excited"

    def __init__(self):
        super().__init__()
        self.mean = layers.GlobalAveragePool2D()

    def forward(self, x):
        return x * self.mean(x)[:, None, None, :]


def excited(shape, backend="numpy"):
    X = np.random.default_rng(0).normal(size=(9, *shape, 1))
    own = [layers.Conv2D(3, 1), Excited(), layers.GlobalAveragePool2D()]
    model = gpunn.Sequential(own, X.shape[1:], backend, dtype="float64")
    trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(1.0))
    trainer.fit(X, X[:, 0, 0] + [0, 1, 2], epochs=2, batch_size=9, progress=False)
    return model.parameters.values


@pytest.mark.parametrize("shape", [(2, 3), (1, 5), (13, 9)])
def test_channels_of_images_are_multiplied(shape):
    np.testing.assert_allclose(excited(shape), excited(shape, Backend(np)), rtol=1e-9, atol=1e-9)


def test_derivatives_that_cannot_be_traced():
    with pytest.raises(
        ArgumentError, match=r"Excited: forward can't be traced: in the deriv.*axes"
    ):
        excited((65, 2))


class Own(Block):
    name = "test_own"

    def own_parameters(self, input_shape):
        return [ParameterSpec("weights", (5, 3), Ones())]


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda self, x: x @ self.values["weights"], r"matmul: the shapes \(rows, 4\)"),
        (lambda self, x: x * self.values["weights"], r"multiply: the shapes \(rows, 4\)"),
        (lambda self, x: x > self.values["weights"], r"greater: the shapes \(rows, 4\)"),
        (lambda self, x: x >= self.values["weights"], r"at_least: the shapes \(rows, 4\)"),
        (lambda self, x: x != self.values["weights"], r"equal: the shapes \(rows, 4\)"),
        (lambda self, xp, x: xp.square(x, axis=1), r"xp\.square\(\) got an .* keyword .* 'axis'"),
        (lambda self, x: x * self.values["weight"], r"declares no .*; did you mean 'weights'"),
        (lambda self, xp, x: xp.max(x, axis=1), r"\(rows, features\); got \(rows,\)\. Use"),
    ],
)
def test_errors_name_shapes_and_parameters(formula, message):
    with pytest.raises(ArgumentError, match=rf"layer 'test_own_1': .*{message}"):
        network(type("Made", (Own,), {"forward": formula})())


def test_a_block_without_parameters_suggests_none():
    with pytest.raises(ArgumentError, match="declares no parameter 'a'\n"):
        network(block(lambda self, x: x * self.values["a"]))


def test_errors_of_inner_layers_name_the_layer():
    wrong = layers.Residual([Dense(3), "flatten", layers.MemberDense(3)])
    with pytest.raises(ArgumentError, match=r"'residual_1': layer 'layers': .* 'member_dense_1'"):
        network(wrong)
    with pytest.raises(ArgumentError, match=r"rows of equal shape; got \(4,\), \(3,\)"):
        network(layers.Residual([Dense(3)]))
    with pytest.raises(
        ArgumentError, match=r"concat: expected rows .* the joined axis; got \(2, 4\), \(4,\)"
    ):
        network(layers.Concatenate([[layers.Members(2)], []]))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda self, x: self.a(x) + self.a(x[:, :2]), "called with rows of different shapes"),
        (lambda self, x: self.b(x) + self.b.layers[0](x), "both this layer and a layer within it"),
    ],
)
def test_calls_that_contradict_each_other(formula, message):
    with pytest.raises(ArgumentError, match=message):
        network(block(formula, a=Dense(4), b=Chain([Dense(4)])))


def test_a_block_has_no_backward_pass_and_a_layer_no_formula():
    for forward in (lambda self, x, workspace: x, lambda self, x, xp: x, lambda self: 1):
        with pytest.raises(ArgumentTypeError, match=r"Both: a Block has forward\(self, x\)"):
            type("Both", (Block,), {"forward": forward})
    with pytest.raises(ArgumentTypeError, match="Both: a Block has"):
        type("Both", (Block,), {"backward": lambda self: None})
    for forward in (lambda self, x: x, lambda self, xp, x: xp.exp(x)):
        with pytest.raises(ArgumentTypeError, match=r"Derive the class from gpunn\.layers\.Block"):
            type("Formula", (Layer,), {"forward": forward})
    with pytest.raises(ArgumentTypeError, match="dense: a layer can be called like a function"):
        Dense(3)(X)
    with pytest.raises(NotImplementedError, match=r"Empty must define forward"):
        network(type("Empty", (Block,), {"name": "test_empty"})())


@pytest.mark.parametrize("branches", [[], (), [Dense(3)]])
def test_branches_are_lists_of_layers(branches):
    with pytest.raises(ArgumentError, match=r"branches: expected a list with a list of layers"):
        layers.Add(branches)


def test_fields_accept_configurations():
    made = Twice("batch_norm")
    assert isinstance(made.body, layers.BatchNorm)
    both = layers.Concatenate([[{"name": "dense", "units": 3}], ["layer_norm"], []])
    assert both.config()["branches"][1:] == [[layers.LayerNorm().config()], []]
    assert list(both.children()) == ["branches_1", "branches_2"]
    assert Optional().gate is None
    assert isinstance(Optional("layer_norm").gate, layers.LayerNorm)
    chain = Chain([Dense(2)], trainable=False)
    assert Twice(chain).config()["body"] == chain.config()
    with pytest.raises(ArgumentError, match="there is no layer 'dens'"):
        layers.Residual(["dens"])


def test_inner_layers_of_a_network_stay():
    made = Twice(Dense(4))
    network(made)
    with pytest.raises(SettingError):
        made.body = Dense(4)


def test_parameters_of_a_layer_that_is_called_twice_occur_once():
    made = Shortcuts([Dense(2), Dense(3)])
    model = network(Twice(Dense(4)), made)
    assert [name for name in model.parameters if "weights" in name] == [
        "test_twice_1.body.weights",
        "test_shortcuts_1.layers.dense_1.weights",
        "test_shortcuts_1.layers.dense_2.weights",
        "dense_1.weights",
    ]
    model.set_trainable({"test_shortcuts_1.layers.dense_1": False})
    assert model.parameters.frozen == 10


@pytest.mark.parametrize("inner", [Fresh, Buffered])
def test_layers_that_are_called_in_each_step(inner):
    """Also a layer that is called twice, and whose gradient is an array that it overwrites."""
    ends = []
    for body in (inner, lambda: layers.Rescaling(0.5)):
        model = network(Dense(4), Twice(body()), layers.Residual([body()]), dtype="float64")
        trained(model)
        ends.append(values(model))
    for one, other in zip(*(each.values() for each in ends), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def operations(*arguments, **options):
    forward, backward = recorded_passes(*arguments, **options)
    return [*forward, *backward]


def softmax_gate(self, xp, x):
    z = self.a(x)
    power = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return x + x * power / xp.sum(power, axis=1, keepdims=True)


def test_sums_of_rows_are_computed_once(host_backend):
    recorded = operations(block(softmax_gate, a=Dense(4)), (4,), host_backend)
    computed = [one.args[0].results for one in recorded if one.name == "compute"]
    assert len(computed) == 3  # y, the gradient of the inner layer's output, and dL/dx
    functions = [node.op for results in computed for node in in_order(results)]
    assert functions.count("row_maximum") == 1
    assert functions.count("row_sum") == 2  # of the softmax, and of its chain rule


def two_experts(self, xp, x):
    z = self.gate(x)
    power = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    share = power / xp.sum(power, axis=1, keepdims=True)
    return share[:, :1] * self.a(x) + share[:, 1:] * self.b(x)


def test_gradients_of_branches_are_computed_together_and_narrow_softmaxes_once(host_backend):
    layer = block(two_experts, a=Dense(16), b=Dense(16), gate=Dense(2))
    recorded = operations(layer, (16,), host_backend)
    names = [one.name for one in recorded]
    assert names == ["dense"] * 3 + ["compute"] * 2 + ["dense_gradient"] * 3 + ["compute"]
    functions = [
        node.op
        for one in recorded
        if one.name == "compute"
        for node in in_order(one.args[0].results)
    ]
    assert functions.count("exp") == 1


class FeatureGates(Block):
    def own_parameters(self, input_shape):
        return [ParameterSpec("scale", input_shape, Ones())]

    def forward(self, xp, x):
        a, b = self.a(x), self.b(x)
        largest = xp.maximum(a, b)
        first, second = xp.exp(a - largest), xp.exp(b - largest)
        return (first * x + second * xp.tanh(x)) / (first + second) * self.values["scale"]


def test_all_gradients_are_computed_with_those_of_branches(host_backend):
    layer = FeatureGates()
    layer.a, layer.b = Dense(4), Dense(4)
    recorded = operations(layer, (4,), host_backend)
    computed = [one.args[0].results for one in recorded if one.name == "compute"]
    assert {node.op for node in in_order(computed[-1])} == {"array", "add"}
    functions = [node.op for results in computed for node in in_order(results)]
    assert functions.count("exp") == 2
    assert functions.count("tanh") == 1
    # The largest logit only prevents overflow, so it has no gradient.
    assert "where" not in functions


@pytest.mark.parametrize("activation", ["identity", "relu"])  # ReLU changes the gradient in place
def test_the_gradient_of_an_inner_layer_is_part_of_the_input_gradient(host_backend, activation):
    recorded = operations(Normed(Dense(4, activation)), (4,), host_backend)
    computed = [one.args[0].results for one in recorded if one.name == "compute"]
    assert len(computed) == 3  # y, the gradient of the inner layer's output, and dL/dx
    assert {node.op for node in in_order(computed[-1])} == {"array", "add"}


@pytest.mark.parametrize(
    ("formula", "kept"),
    [
        (lambda self, xp, x: xp.tanh(self.a(x)), 1),
        (lambda self, xp, x: self.a(xp.tanh(x)), 1),
        (lambda self, xp, x: xp.sin(self.a(x)), 0),  # its derivative doesn't read the result
    ],
)
def test_results_that_derivatives_read_are_kept(host_backend, formula, kept):
    recorded = operations(block(formula, a=Dense(4)), (4,), host_backend)
    computed = [one.args[0].results for one in recorded if one.name == "compute"]
    assert len(computed[0]) == 1 + kept
    functions = [node.op for results in computed for node in in_order(results)]
    assert functions.count("tanh") == kept  # the backward pass reads the kept array


class Divided(Block):
    def own_parameters(self, input_shape):
        return [ParameterSpec("widths", input_shape, Ones(), trainable=False)]

    def forward(self, x):
        return self.a(x) / self.values["widths"]


def test_gradients_are_not_kept(host_backend):
    layer = Divided()
    layer.a = Dense(4)
    recorded = operations(layer, (4,), host_backend)
    computed = [one.args[0].results for one in recorded if one.name == "compute"]
    assert [[node.op for node in results] for results in computed][1:] == [["divide"]]


class Weighted(Block):
    """Features times a softmax of parameters; with x of one row, other arrays are kept."""

    name = "test_weighted"

    def own_parameters(self, input_shape):
        return [ParameterSpec("w", input_shape, Ones())]

    def forward(self, xp, x):
        power = xp.exp(self.values["w"] - xp.max(self.values["w"]))
        return x * (power / xp.sum(power)) * xp.exp(x) / xp.sum(xp.exp(x), axis=1, keepdims=True)


def test_batches_with_other_numbers_of_rows_keep_other_arrays(host_backend):
    models = [network(Weighted(), backend=host_backend) for _ in range(2)]
    for model, rows in zip(models, (17, 16), strict=True):
        trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.1))
        trainer.fit(X[:rows], Y[:rows], epochs=1, batch_size=8, shuffle=False, progress=False)
    last = gpunn.Trainer(models[1], "mean_squared_error", gpunn.optimizers.SGD(0.1))
    last.fit(X[16:17], Y[16:17], epochs=1, batch_size=8, progress=False)
    outputs = [model.predict(X) for model in models]
    np.testing.assert_allclose(*outputs, rtol=1e-5)


class Projected(Block):
    def own_parameters(self, input_shape):
        return [ParameterSpec("W", (4, 4), Ones())]

    def forward(self, xp, x):
        return (self.a(x) * xp.tanh(x)) @ self.values["W"]


def test_gradients_of_products_are_not_copied(host_backend):
    layer = Projected()
    layer.a = Dense(4)
    recorded = operations(layer, (4,), host_backend)
    shapes = [n.shape for one in recorded if one.name == "compute" for n in one.args[0].results]
    assert (4, 4) not in shapes


def test_only_what_is_needed_is_computed(host_backend):
    def of(layer, **options):
        return [one.name for one in operations(layer, (4,), host_backend, **options)]

    dense = ["dense", "dense_gradient"]
    assert of(block(lambda self, x: self.a(x), a=Dense(4))) == dense
    residual = ["dense", "compute", "dense_gradient", "compute"]
    assert of(layers.Residual([Dense(4)])) == residual
    changed = of(layers.Residual([Dense(4, "relu")]))  # the gradient of the sum
    assert changed == ["dense", "compute", "assign", "dense_gradient", "compute"]
    first = of(layers.Residual([Dense(4)]), wants_input_gradient=False)
    assert first == ["dense", "compute", "dense_gradient"]
    first = of(layers.Residual([Dense(4, trainable=False)]), wants_input_gradient=False)
    assert first == ["dense", "compute"]
    assert of(Gate()) == ["matmul", "compute", "compute", "matmul", "matmul", "compute"]
    assert of(Gate(trainable=False)) == ["matmul", "compute", "compute", "matmul", "compute"]


@dataclass(eq=False)
class Optional(Block):
    """A layer, or none, and a string that is no layer's name."""

    gate: Layer | None = None
    kind: "LayerKind" = "dense"  # noqa: F821 - never evaluated

    name = "test_optional"

    def forward(self, x):
        return x if self.gate is None else self.gate(x)


@dataclass(eq=False)
class Scaled(Block):
    factor: float = 2.0
    inner: list = field(default_factory=list)

    name = "test_scaled"

    def __post_init__(self):
        super().__post_init__()
        self.offsets = [0.0]

    def own_parameters(self, input_shape):
        return [ParameterSpec("scale", input_shape, Ones(), decay=False)]

    def forward(self, x):
        return self.factor * x * self.values["scale"] + self.offsets[0]


def test_numbers_may_change_between_epochs(engine):
    made = Scaled()
    model = network(made)
    whole = model.predict(X)
    made.offsets[0] = 1e6
    assert (np.abs(model.predict(X) - whole) > 1e3).all()
    made.offsets[0], scales = 0.0, []

    def on_epoch_end(trainer, logs):
        made.factor = 0.0
        scales.append(model.parameters["test_scaled_1.scale"].copy())

    trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.01))
    trainer.fit(X, Y, epochs=3, callbacks=[Calls(on_epoch_end=on_epoch_end)], progress=False)
    assert not np.array_equal(scales[0], np.ones(4))
    np.testing.assert_array_equal(scales[1], scales[2])


class Listed(Block):
    name = "test_listed"

    def __post_init__(self):
        super().__post_init__()
        self.parts = []
        for units in (3, 4):
            self.parts.append(Dense(units, "tanh"))

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x


def test_lists_of_layers_that_are_no_fields():
    model = network(Listed())
    assert {"test_listed_1.parts_1.weights", "test_listed_1.parts_2.weights"} <= set(
        model.parameters
    )
    before = values(model)
    trained(model)
    assert all(not np.array_equal(before[name], after) for name, after in values(model).items())
    again = gpunn.Sequential(**model.config(), backend="numpy", values=values(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("inside", [False, True])
def test_attributes_of_the_class_may_change(inside):
    class OfClass(Block):
        name = "test_of_class"
        factors = (1.0, 1.0)

        def forward(self, x):
            return self.factors[0] * x

    model = gpunn.Sequential([layers.Chain([OfClass()]) if inside else OfClass()], 4, "numpy")
    np.testing.assert_array_equal(model.predict(X), X)
    OfClass.factors = (3.0, 1.0)
    np.testing.assert_array_equal(model.predict(X), 3 * X)
    np.testing.assert_array_equal(model.predict(X[:3]), 3 * X[:3])


def everything():
    return [BLOCKS[name][0]() for name in ("twice, chain", "subclass", "twice, dropout")]


def test_copies_of_networks_compute_the_same():
    model = network(*everything())
    trained(model)
    copies = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        model.to("numpy"),
        gpunn.Sequential(**model.config(), backend="numpy", values=values(model)),
    ]
    predictions = model.predict(X)
    trained(model)
    for other in copies:
        np.testing.assert_array_equal(other.predict(X), predictions)
        trained(other)
        for name, expected in values(model).items():
            np.testing.assert_array_equal(values(other)[name], expected)


@pytest.mark.parametrize("trainable", [True, False])
def test_equal_arguments_of_a_maximum_share_the_gradient(host_backend, trainable):
    """As if only one of both were there, since a scale of 1 is the identity."""
    scale = layers.Scale(trainable=trainable)
    made = block(lambda self, xp, x: xp.maximum(self.a(x), x), a=scale)
    attached(made, (4,), host_backend)["it.a.factors"] = np.ones(4)
    workspace = Workspace(host_backend, "float64", 8, training=True)
    x = host_backend.from_host(np.ones((8, 4)), "float64")
    y = made.forward(x, workspace)
    gradient = host_backend.from_host(np.full((8, 4), 3.0), "float64")
    dx = made.backward(x, y, gradient, workspace, True)
    np.testing.assert_array_equal(host_backend.to_host(dx), np.full((8, 4), 3.0))
    for each in made.gradients.values():
        np.testing.assert_array_equal(host_backend.to_host(each), np.full(4, 8 * 1.5))


@pytest.mark.parametrize(
    "formula",
    [
        lambda self, xp, x: self.a(x) + xp.tanh(x),  # no gradient of a step is computed
        lambda self, xp, x: self.b(self.a(x) * xp.tanh(x)) + xp.sin(x),  # b may overwrite dL/dy
    ],
)
def test_slow_terms_of_the_input_gradient(host_backend, formula):
    made = block(formula, a=Dense(4, "tanh"), b=Dense(4, "sigmoid"))
    attached(made, (4,), host_backend)
    workspace = Workspace(host_backend, "float64", 8, training=True)

    def y_of(x):
        return host_backend.to_host(made.forward(host_backend.from_host(x), workspace)).copy()

    x, g = X[:8].astype(float), np.arange(32.0).reshape(8, 4)
    expected = numerical.gradient(lambda: np.sum(y_of(x) * g), x)
    given = host_backend.from_host(x)
    y = made.forward(given, workspace)
    dx = made.backward(given, y, host_backend.from_host(g), workspace, True)
    np.testing.assert_allclose(host_backend.to_host(dx), expected, rtol=1e-6, atol=1e-6)


def test_integers_become_numbers():
    class Pixels(Block):
        name = "test_pixels"
        takes_integers = True

        def forward(self, x):
            return x / 255 - 1

    pixels = np.array([[0, 51, 255, 102]], np.uint8)
    model = gpunn.Sequential([Pixels()], 4, "numpy")
    np.testing.assert_allclose(model.predict(pixels), [[-1.0, -0.8, 0.0, -0.6]], atol=1e-6)


def test_long_formulas_and_nested_blocks_are_traced_once():
    def smoothed(self, xp, x):
        for _ in range(40):
            x = 0.5 * (x + xp.tanh(x))
        return x

    nested = block(smoothed)
    for _ in range(5):
        nested = layers.Residual([nested, Dense(4)])
    assert np.isfinite(trained(network(nested)).history["loss"]).all()


FACTOR = 1.0


def test_a_changed_global_variable_takes_effect():
    globals()["FACTOR"] = 1.0
    model = gpunn.Sequential([block(lambda self, x: FACTOR * x)], 4, "numpy")
    for factor in 1.0, 3.0:
        globals()["FACTOR"] = factor
        np.testing.assert_allclose(model.predict(X), factor * X)


TRACED = []


class Counted(Block):
    name = "test_counted"

    def __init__(self, factor, units=4, note=""):
        self.factor, self.note = factor, note
        self.inner = Chain([Dense(units, "tanh"), Dense(4)])
        super().__post_init__()

    def own_parameters(self, input_shape):
        return [ParameterSpec("scale", (4,), Ones())]

    def forward(self, x):
        TRACED.append(self.factor)
        return x + self.factor * x + self.values["scale"] * self.inner(x)


def test_equal_blocks_share_a_trace():
    """Blocks with other attributes, also of inner layers, don't; nor do they share parameters."""
    blocks = [(0.5, 4), (0.5, 4), (0.5, 3), (2.0, 4), (0.5, 4)]
    counts, results = [], []
    for notes in ("aaaaa", "abcde"):  # equal attributes, or one that differs everywhere
        TRACED.clear()
        model = network(*(Counted(*each, note) for each, note in zip(blocks, notes, strict=True)))
        made = len(TRACED)
        trained(model, batch_size=20)
        counts.append((made / 2, len(TRACED[made:])))
        results.append(values(model))
        assert set(TRACED[made:]) == {0.5, 2.0}
    assert counts == [(3, 3), (5, 5)]
    for name, value in results[0].items():
        assert np.array_equal(value, results[1][name])


class Viewed(Block):
    name = "test_viewed"

    def __post_init__(self):
        super().__post_init__()
        self.flat = layers.Flatten()

    def forward(self, xp, x):
        return xp.tanh(self.flat(x)) * x


def test_equal_blocks_may_read_views_of_their_input():
    backends = "numpy", Backend(np)
    models = [network(Viewed(), Dense(4), Viewed(), backend=each) for each in backends]
    for model in models:
        trained(model, batch_size=20)
    np.testing.assert_allclose(*(each.predict(X) for each in models), rtol=1e-4, atol=1e-6)


def test_masks_of_two_calls_differ(host_backend):
    made = block(lambda self, xp, x: xp.concat([self.a(x), self.a(x)], axis=1), a=layers.Dropout())
    _, workspace = prepared(host_backend, made, (30,))
    x = host_backend.from_host(np.ones((8, 30)), "float32")
    y = host_backend.to_host(made.forward(x, workspace))
    assert not np.array_equal(y[:, :30], y[:, 30:])


def test_members_with_their_own_rows_are_no_inner_layer():
    made = block(lambda self, x: self.a(x), a=layers.Members(2))
    layers_after = [layers.MemberDense(1, separate=True), layers.MeanOverMembers()]
    model = gpunn.Sequential([made, *layers_after], 4, "numpy")
    model.predict(X)
    trainer = gpunn.Trainer(model, "mean_squared_error")
    with pytest.raises(ArgumentError, match="shuffle_members, can't be within a Block"):
        trainer.fit(X, Y, shuffle_members=True, progress=False)


COMPILED = {
    **{name: BLOCKS[name][0] for name in ("residual", "add", "multiply", "concatenate")},
    **{name: BLOCKS[name][0] for name in ("gate", "features", "broadcast", "twice, chain")},
    "scale": Scaled,
}


OF_MEMBERS = {name: BLOCKS[name][0] for name in BLOCKS if BLOCKS[name][1] == (3, 4)}


@pytest.mark.parametrize("name", [*COMPILED, *OF_MEMBERS])
def test_a_step_is_one_table_without_calls(name):
    pytest.importorskip("numba")
    from gpunn.backends.numpy.compiled.program import Table

    made = (
        network(COMPILED[name]())
        if name in COMPILED
        else network(layers.Members(3), OF_MEMBERS[name](), layers.Flatten())
    )
    trainer = gpunn.Trainer(made, "mean_squared_error")
    program = trainer.model.backend._program(recorded_step(trainer, X[:8], Y[:8]))
    assert [type(each) for each in program._steps] == [Table]


def test_the_summary_shows_the_layers_within_blocks():
    inner = layers.Residual([Dense(4)])
    model = network(
        layers.Residual([Dense(8, "relu", trainable=False), Dense(4), inner]),
        Twice(Dense(4)),
        layers.Add([[Dense(4)], []]),
    )
    rows = [line.split() for line in model.summary().splitlines()]
    assert rows[1:-2] == [
        ["residual_1", "residual", "(4,)", "96", "40", "frozen"],
        ["layers.dense_1", "dense", "(8,)", "40", "frozen"],
        ["layers.dense_2", "dense", "(4,)", "36"],
        ["layers.residual_1", "residual", "(4,)", "20"],
        ["layers.residual_1.layers.dense_1", "dense", "(4,)", "20"],
        ["test_twice_1", "test_twice", "(4,)", "20"],
        ["body", "dense", "(4,)", "20"],
        ["add_1", "add", "(4,)", "20"],
        ["branches_1.dense_1", "dense", "(4,)", "20"],
        ["dense_1", "dense", "(1,)", "5"],
    ]
    assert model.summary().splitlines()[5].startswith("    layers.residual_1")
