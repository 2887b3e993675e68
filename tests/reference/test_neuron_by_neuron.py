"""`gpunn.NeuralNetwork` against the neuron-by-neuron oracle, and the tutorial's own figures."""

import math
import re
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from reference import neuron_by_neuron as oracle

import gpunn
from gpunn.backends import Backend


def backends():
    return [
        pytest.param("numpy", id="numpy"),
        pytest.param(Backend(np, name="plain"), id="plain-numpy"),
        pytest.param(Backend(array_api_strict, name="strict"), id="array-api-strict"),
    ]


def data(sizes, rows, seed=1):
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, sizes[0])), random.random((rows, sizes[-1]))


def host(network):
    return network.parameters.to_host()


def enlarged(network, seed=2):
    """Give a network weights and biases with which neurons differ and some are inactive.

    With the tutorial's N(0, 0.01^2) weights and three layers the gradients are so small that a
    wrong one would go unnoticed.
    """
    random = np.random.default_rng(seed)
    for name, value in host(network).items():
        network.parameters[name] = random.normal(0.1, 0.5, value.shape)
    return network


def copied(network):
    values = host(network)
    return oracle.NeuralNetwork(
        [
            oracle.Layer(
                [
                    oracle.Neuron(column.tolist(), float(bias))
                    for column, bias in zip(
                        values[f"{label}.weights"].T, values[f"{label}.biases"], strict=True
                    )
                ]
            )
            for label in network.labels
        ]
    )


def assert_equal(network, reference):
    values = host(network)
    for label, layer in zip(network.labels, reference.layers, strict=True):
        weights = np.array([neuron.weights for neuron in layer.neurons]).T
        biases = np.array([neuron.bias for neuron in layer.neurons])
        np.testing.assert_allclose(values[f"{label}.weights"], weights, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(values[f"{label}.biases"], biases, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize(
    ("sizes", "rows", "batch_size"),
    [
        ([3, 2], 8, 4),
        ([1, 1], 5, 1),
        ([4, 5, 3], 10, 4),
        ([2, 6, 5, 2], 9, 9),
        ([5, 7, 1], 7, 3),
        ([3, 4, 4, 4, 2], 11, 100),
    ],
)
def test_training_equals_the_oracle(backend, sizes, rows, batch_size, capsys):
    network = enlarged(gpunn.NeuralNetwork(sizes, backend=backend, dtype="float64"))
    reference, before = copied(network), host(network)
    X, y = data(sizes, rows)
    losses = network.train(X, y, epochs=4, learning_rate=0.05, batch_size=batch_size)
    expected = reference.train(X.tolist(), y.tolist(), 4, 0.05, batch_size)
    assert_equal(network, reference)
    np.testing.assert_allclose(losses, expected, rtol=1e-12, atol=1e-12)
    lines = [f"Epoch {i}/4, Loss: {loss:.6f}" for i, loss in enumerate(expected, 1)]
    assert capsys.readouterr().out.splitlines() == lines
    moved = [
        name for name, value in host(network).items() if not np.array_equal(value, before[name])
    ]
    assert any("weights" in name for name in moved)


@pytest.mark.parametrize("backend", backends())
def test_training_from_the_tutorials_start_equals_the_oracle(backend):
    network = gpunn.NeuralNetwork([6, 5, 3], backend=backend, seed=3, dtype="float64")
    reference = copied(network)
    X, y = data([6, 3], 10)
    losses = network.train(X, y, epochs=6, learning_rate=0.5, batch_size=3, verbose=False)
    expected = reference.train(X.tolist(), y.tolist(), 6, 0.5, 3)
    assert_equal(network, reference)
    np.testing.assert_allclose(losses, expected, rtol=1e-12, atol=1e-12)
    assert expected[-1] < expected[0]


def test_predictions_equal_the_oracle():
    network = enlarged(gpunn.NeuralNetwork([4, 6, 3], backend="numpy", dtype="float64"))
    X, _ = data([4, 3], 7)
    expected = [copied(network).forward(x)[-1] for x in X.tolist()]
    np.testing.assert_allclose(network.predict(X), expected, rtol=1e-12, atol=1e-12)
    assert 0 < np.count_nonzero(expected) < np.size(expected), "some neurons on, some off"


def with_weights(sizes, weights, biases, backend="numpy"):
    network = gpunn.NeuralNetwork(sizes, backend=backend, dtype="float64")
    network.parameters["dense_1.weights"] = np.asarray(weights)
    network.parameters["dense_1.biases"] = np.asarray(biases)
    return network


@pytest.mark.parametrize("backend", backends())
def test_preactivation_of_one_neuron(backend):
    network = with_weights([3, 1], [[0.2], [0.8], [-0.5]], [2.0], backend)
    np.testing.assert_allclose(network.predict([[1.0, 2.0, 3.0]]), [[2.3]], rtol=1e-15)


@pytest.mark.parametrize(("z", "a"), [(2.3, 2.3), (-1.2, 0.0), (0.0, 0.0)])
def test_relu(z, a):
    network = with_weights([1, 1], [[1.0]], [0.0])
    assert network.predict([[z]]).tolist() == [[a]]


def test_broadcast_sum_of_biases():
    products = [[10, 20, 30, 40], [50, 60, 70, 80]]
    network = with_weights([2, 4], products, [0.1, 0.2, 0.3, 0.4])
    expected = [[10.1, 20.2, 30.3, 40.4], [50.1, 60.2, 70.3, 80.4]]
    np.testing.assert_allclose(network.predict(np.eye(2)), expected, rtol=1e-15)


def test_printed_loss(capsys):
    """The loss of these predictions is 0.025; the network gives them for the rows of 1."""
    network = with_weights([2, 2], [[0.1, 0.9], [0.8, 0.2]], [0.0, 0.0])
    losses = network.train(np.eye(2), [[0, 1], [1, 0]], epochs=1, learning_rate=0.0, batch_size=2)
    assert math.isclose(losses[0], 0.025, rel_tol=1e-14)
    assert capsys.readouterr().out == "Epoch 1/1, Loss: 0.025000\n"


def test_gradient_of_the_cost_is_larger_than_that_of_the_printed_loss():
    """One step: the change is -learning_rate * 2 (p - y) / m, whatever the number of outputs."""
    network = with_weights([2, 2], [[0.1, 0.9], [0.8, 0.2]], [0.0, 0.0])
    network.train(
        np.eye(2), [[0, 1], [1, 0]], epochs=1, learning_rate=1.0, batch_size=2, verbose=False
    )
    np.testing.assert_allclose(
        host(network)["dense_1.weights"], [[0.0, 1.0], [1.0, 0.0]], atol=1e-15
    )


def test_oracle_knows_nothing_of_gpunn():
    source = Path(oracle.__file__).read_text()
    assert not re.search(r"^\s*(import|from)\s+(gpunn|numpy)", source, re.MULTILINE)
