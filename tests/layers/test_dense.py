import numpy as np
import pytest
from layers.checking import attached

from gpunn import initializers
from gpunn.backends.numpy import NumpyBackend
from gpunn.layers import Dense
from gpunn.workspace import Workspace


def test_an_unused_input_gradient_is_not_computed(host_backend):
    layer = Dense(2)
    attached(layer, (3,), host_backend)
    workspace = Workspace(host_backend, "float64", 4, training=True)
    x, gradient = np.ones((4, 3)), np.ones((4, 2))
    y = layer.forward(x, workspace)
    before = workspace.nbytes
    layer.backward(x, y, gradient, workspace, False)
    np.testing.assert_array_equal(layer.gradients["weights"], np.full((3, 2), 4.0))
    assert workspace.nbytes == before


def test_only_functions_of_the_preactivation_keep_it(host_backend):
    for activation, buffers in (("relu", 1), ("gelu", 2)):
        layer = Dense(2, activation)
        attached(layer, (3,), host_backend)
        workspace = Workspace(host_backend, "float64", 4)
        layer.forward(np.ones((4, 3)), workspace)
        assert workspace.nbytes == buffers * 4 * 2 * 8


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("identity", initializers.FanIn()),
        ("relu", initializers.GlorotFanInMean()),
        ("leaky_relu", initializers.GlorotFanInMean()),
        ("gelu", initializers.GlorotOrFanIn()),
        ("tanh", initializers.GlorotOrFanIn()),
        ("sigmoid", initializers.GlorotOrFanIn()),
        ("selu", initializers.LeCun()),
    ],
)
def test_initializer_fits_the_activation(activation, expected):
    assert Dense(3, activation).initializer == expected
    assert Dense(3, activation, initializer="zeros").initializer == initializers.Zeros()


def test_initial_biases_are_within_one_over_the_root_of_the_inputs():
    """With few inputs and zero biases, all kinks of the first layer would be at the origin."""
    assert Dense(3, "relu").parameters((16,))[1].initializer == initializers.Uniform(0.25)
    assert Dense(3, "selu").parameters((16,))[1].initializer == initializers.Zeros()


def test_parameters():
    weights, biases = Dense(3, bias_initializer="ones").parameters((5,))
    assert (weights.shape, weights.decay) == ((5, 3), True)
    assert (biases.shape, biases.decay, biases.initializer) == ((3,), False, initializers.Ones())
    assert [spec.name for spec in Dense(3, bias=False).parameters((5,))] == ["weights"]


def test_neurons_are_live_views(backend):
    layer = Dense(4)
    parameters = attached(layer, (3,), backend, "float32")
    assert len(layer.neurons) == 4
    neuron = layer.neurons[-1]
    assert neuron.weights.shape == (3, 1)
    assert neuron.bias.shape == (1, 1)
    neuron.weights[...] = 7.0
    neuron.bias[...] = 8.0
    weights, biases = parameters.to_host().values()
    assert weights[:, 3].tolist() == [7, 7, 7]
    assert biases[3] == 8
    assert [float(n.bias[0, 0]) for n in layer.neurons[2:]] == biases[2:].tolist()
    assert [float(n.bias[0, 0]) for n in layer.neurons] == biases.tolist()
    assert repr(neuron) == "Neuron(3 inputs)"
    with pytest.raises(IndexError):
        layer.neurons[4]
    without = Dense(2, bias=False)
    attached(without, (3,), NumpyBackend())
    assert without.neurons[0].bias is None
