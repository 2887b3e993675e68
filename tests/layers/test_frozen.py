"""The chain rule of frozen layers, which compute only dL/dx."""

import numpy as np
import pytest
from layers.checking import ROWS, attached, check_chain_rule, recorded_passes
from layers.test_every_layer import LAYERS, by_default

from gpunn import layers
from gpunn.activations import Identity
from gpunn.backends.recording import expand_composites
from gpunn.initializers import Normal
from gpunn.parameters import ParameterSpec
from gpunn.workspace import Workspace

PRODUCTS = {"matmul", "group_matmul"}


def frozen(make):
    layer = make()
    layer.trainable = False
    return layer


@pytest.mark.parametrize("name", by_default("activation|convolution|dense|parametric"))
def test_the_chain_rule_holds_through_a_frozen_layer(host_backend, name):
    make, shape = LAYERS[name]
    layer = frozen(make)
    check_chain_rule(layer, shape, host_backend)
    assert not layer.gradients


@pytest.mark.parametrize("index", range(3))
def test_one_layer_of_a_chain_is_frozen(host_backend, index):
    parts = [layers.Dense(3, "relu"), layers.BatchNorm(), layers.Dense(2)]
    parts[index].trainable = False
    chain = layers.Chain(parts)
    check_chain_rule(chain, (4,), host_backend)
    assert {name.split(".")[0] for name in chain.gradients} == {
        label for label, layer in chain.children().items() if layer.trainable
    }


def trace_of(layer, shape, backend, wants_input_gradient):
    _, backward = recorded_passes(layer, shape, backend, wants_input_gradient)
    return [one.name for one in expand_composites(backward, backend)]


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("dense tanh, True", 2),
        ("adapters, relu", 2),
        ("separate, gelu", 2),
        ("pl", 2),
        ("piecewise B", 4),
    ],
)
def test_of_a_frozen_layer_only_half_the_products_are_left(host_backend, name, trained):
    make, shape = LAYERS[name]
    for layer, products in ((make(), trained), (frozen(make), trained // 2)):
        trace = trace_of(layer, shape, host_backend, wants_input_gradient=True)
        assert sum(each in PRODUCTS for each in trace) == products


def test_tables_of_a_frozen_embedding_have_no_gradient(host_backend):
    traces = [
        trace_of(layer, (2,), host_backend, wants_input_gradient=False)
        for layer in (layers.Embedding([3, 4]), layers.Embedding([3, 4], trainable=False))
    ]
    assert traces == [["embed_gradient"], []]


def test_a_frozen_group_of_columns_is_not_gone_back_through(host_backend):
    """A chain whose layers have no parameters is not frozen either."""

    def groups(trainable):
        return layers.ColumnGroups(
            [
                {"columns": [0, 2], "layers": [layers.Dense(3)], "trainable": trainable},
                {"columns": [2, 3], "layers": [layers.Dense(2)]},
            ]
        )

    whole, part = (
        trace_of(groups(trainable), (3,), host_backend, wants_input_gradient=False)
        for trainable in (True, False)
    )
    assert whole == 2 * ["copy_columns", "activation_gradient", "matmul"]
    assert part == ["copy_columns", "activation_gradient", "matmul"]


def test_a_frozen_batch_norm_is_the_same_in_training_as_in_inference(host_backend):
    layer = layers.BatchNorm(trainable=False)
    attached(layer, (4,), host_backend)
    x = host_backend.from_host(np.random.default_rng(0).normal(size=(ROWS, 4)), "float64")
    before = {name: host_backend.to_host(array) for name, array in layer.values.items()}
    training, inference = (
        host_backend.to_host(layer.forward(x, Workspace(host_backend, "float64", ROWS, training=t)))
        for t in (True, False)
    )
    np.testing.assert_array_equal(training, inference)
    for name, array in layer.values.items():
        np.testing.assert_array_equal(host_backend.to_host(array), before[name])


class Shift(layers.Layer):
    """y = x + b: a custom layer without support for freezing."""

    name = "shift"

    def parameters(self, input_shape):
        return [ParameterSpec("biases", input_shape, Normal())]

    @layers.operations_only
    def forward(self, x, workspace):
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.assign(x, y)
        workspace.backend.activate(Identity(), y, self.values["biases"], y)
        return y

    @layers.operations_only
    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        workspace.backend.activation_gradient(Identity(), y, y, gradient, self.gradients["biases"])
        return gradient


def test_a_custom_layer_computes_an_unused_gradient(host_backend):
    layer = Shift(trainable=False)
    check_chain_rule(layer, (4,), host_backend)
    assert "biases" not in layer.gradients
    assert layer.gradients.get("biases") is None
    assert not list(layer.gradients)
    assert layer.gradients["biases"].shape == (4,)
    with pytest.raises(KeyError):
        layer.gradients["weights"]
