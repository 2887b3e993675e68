import copy
import os
import pickle
import signal

import numpy as np
import pytest
from equality import assert_arrays

import gpunn
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.neural_network import PrintedLoss


def network(sizes=(3, 4, 2), **options):
    return gpunn.NeuralNetwork(list(sizes), **{"backend": "numpy", **options})


def data(rows=10):
    random = np.random.default_rng(0)
    return random.normal(size=(rows, 3)), random.random((rows, 2))


def test_sizes_are_checked():
    with pytest.raises(ArgumentError, match="sizes: expected an integer >= 1; got 0"):
        network([3, 0])
    with pytest.raises(ArgumentTypeError, match=r"sizes: expected an integer; got 2\.5"):
        network([3, 2.5])


def test_start():
    values = network([300, 200, 10]).parameters.to_host()
    assert list(values) == [
        "dense_1.weights",
        "dense_1.biases",
        "dense_2.weights",
        "dense_2.biases",
    ]
    weights = values["dense_1.weights"]
    assert weights.shape == (300, 200)
    # The deviation of the mean of n draws is 0.01 / sqrt(n), that of theirs 0.01 / sqrt(2 n).
    assert abs(weights.mean()) < 5 * 0.01 / np.sqrt(weights.size)
    assert abs(weights.std() - 0.01) < 5 * 0.01 / np.sqrt(2 * weights.size)
    assert not values["dense_1.biases"].any()
    assert not values["dense_2.biases"].any()


def test_every_layer_is_relu():
    assert all(layer.f == gpunn.activations.ReLU() for layer in network().layers)


@pytest.mark.parametrize(
    "made",
    [
        lambda net: net,
        copy.copy,
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),
        lambda net: net.to("numpy"),
    ],
)
def test_neurons_are_live_views(made):
    net = made(network())
    neuron = net.layers[0].neurons[3]
    assert (neuron.weights.shape, neuron.bias.shape) == ((3, 1), (1, 1))
    net.parameters["dense_2.weights"] = np.ones((4, 2))
    X = np.array([[1.0, 2.0, 3.0]])
    before = net.predict(X)
    neuron.bias[0, 0] = 10
    np.testing.assert_allclose(net.predict(X) - before, 10, atol=0.2)
    neuron.weights[1] = 100
    np.testing.assert_allclose(net.predict(X) - before, 210, atol=0.2)
    net.train(*data(), epochs=1, learning_rate=0.01, batch_size=4, verbose=False)
    assert neuron.bias[0, 0] == net.parameters["dense_1.biases"][3]


def test_neurons_of_a_loaded_network(tmp_path):
    net = network()
    net.save(tmp_path / "net.safetensors")
    loaded = gpunn.load_model(tmp_path / "net.safetensors", "numpy")
    neuron = loaded.layers[0].neurons[3]
    np.testing.assert_array_equal(neuron.weights, net.layers[0].neurons[3].weights)
    neuron.weights[...] = 0
    assert not loaded.parameters["dense_1.weights"][:, 3].any()


def test_training_goes_on_where_it_was():
    options = {"learning_rate": 0.1, "batch_size": 4, "verbose": False}
    net, other = network(), network()
    losses = net.train(*data(), epochs=5, **options)
    parts = other.train(*data(), epochs=2, **options) + other.train(*data(), epochs=3, **options)
    assert parts == losses
    np.testing.assert_array_equal(net.parameters.values, other.parameters.values)


def test_output(capsys):
    losses = network().train(*data(), epochs=2, learning_rate=0.1, batch_size=4)
    assert capsys.readouterr().out == "".join(
        f"Epoch {epoch}/2, Loss: {loss:.6f}\n" for epoch, loss in enumerate(losses, 1)
    )
    network().train(*data(), epochs=2, learning_rate=0.1, batch_size=4, verbose=False)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ArgumentError, "epochs: expected an integer >= 1"),
        ({"batch_size": 0}, ArgumentError, "batch_size: expected an integer >= 1"),
        ({"learning_rate": -1}, ArgumentError, "learning_rate: expected a number >= 0; got -1"),
        ({"learning_rate": "fast"}, ArgumentError, "learning_rate: there is no schedule 'fast'"),
        ({"X": np.zeros((10, 4))}, DataError, "X: this network expects"),
        ({"y": np.zeros(10)}, DataError, r"y: .*2 outputs.*must have shape \(rows, 2\)"),
        ({"y": np.zeros((9, 2))}, DataError, "y: expected 10 rows, as many as X; got 9"),
    ],
)
def test_training_rejects(options, error, message):
    X, y = data()
    arguments = {"X": X, "y": y, "epochs": 1, "learning_rate": 0.1, "batch_size": 4, **options}
    net = network()
    before = net.parameters.to_host()
    with pytest.raises(error, match=message):
        net.train(**arguments)
    assert_arrays(net.parameters.to_host(), before)


@pytest.mark.parametrize("sizes", [3, None, "34", [3], []])
def test_sizes_that_are_none(sizes):
    with pytest.raises(ArgumentError, match="sizes: expected the number of inputs and at least"):
        gpunn.NeuralNetwork(sizes, backend="numpy")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("verbose", [False, True])
def test_ctrl_c_ends_training_and_says_so(verbose, capsys, caplog, monkeypatch):
    report = PrintedLoss.on_epoch_end

    def interrupting(self, trainer, logs):
        report(self, trainer, logs)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(PrintedLoss, "on_epoch_end", interrupting)
    losses = network().train(*data(), epochs=5, learning_rate=0.1, batch_size=4, verbose=verbose)
    assert len(losses) == 1
    assert "with 1 of 5 epochs done" in caplog.text
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:] == (["Stopped: interrupted by Ctrl-C"] if verbose else [])
