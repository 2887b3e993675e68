"""Layers within layers: names, shapes, copies, files."""

import numpy as np
import pytest
from layers.test_passes import Fresh, Residual

import gpunn
from gpunn.errors import ArgumentError
from gpunn.initializers import Zeros
from gpunn.layers import BatchNorm, Chain, Dense, Dropout, Standardization
from gpunn.parameters import ParameterSpec

X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)


def network():
    inner = Chain([Dense(5, "relu"), "dropout", Dense(4, label="out")])
    return gpunn.Sequential([Residual([inner, BatchNorm()]), Dense(2)], 4, "numpy", seed=1)


class Factor(Fresh):
    name = "test_factor"

    def parameters(self, input_shape):
        return [ParameterSpec("offset", input_shape, Zeros())]

    def forward(self, x, workspace):
        return (self.values["offset"] + 1) * x

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        self.gradients["offset"][...] = (gradient * x).sum(axis=0)
        return (self.values["offset"] + 1) * gradient


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Factor()],
        lambda: [Factor(), Dense(3)],
        lambda: [Dense(3), Factor()],
        lambda: [Dense(3), Factor(), Fresh(), Dense(4)],
    ],
)
@pytest.mark.parametrize("wrap", [lambda inner: inner, lambda inner: [Chain(inner)]])
def test_layers_without_the_mark_have_their_place_anywhere(layers, wrap):
    def trained(layers):
        model = gpunn.Sequential([*layers, Dense(2, label="last")], 4, "numpy")
        for name in model.parameters:  # whose names, and so the draws, differ
            shape = model.parameters[name].shape
            model.parameters[name] = np.cos(np.arange(np.prod(shape)) + len(shape)).reshape(shape)
        trainer = gpunn.Trainer(model, "mean_squared_error", "sgd")
        history = trainer.fit(X, X[:, :2], epochs=3, batch_size=4, shuffle=False, progress=False)
        return history["loss"], model.predict(X)

    losses, outputs = trained(layers())
    of_chain, of_its_outputs = trained([Chain(wrap(layers()))])
    assert losses == of_chain
    np.testing.assert_array_equal(outputs, of_its_outputs)


def test_parameters_are_named_by_the_way_to_them():
    names = list(network().parameters)
    assert names[:2] == [
        "test_residual_1.body.chain_1.dense_1.weights",
        "test_residual_1.body.chain_1.dense_1.biases",
    ]
    assert "test_residual_1.body.chain_1.out.weights" in names
    assert "test_residual_1.body.batch_norm_1.running_mean" in names


def test_masks_differ_from_layer_to_layer():
    model = gpunn.Sequential([Chain([Dropout(0.5), Dropout(0.5)]), Dense(1)], 3, "numpy")
    first, second = model.layers[0].children().values()
    assert len({first.key, second.key, model.layers[0].key, 0}) == 4


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: [Chain([])], "layers: expected a list of at least one layer"),
        (lambda: [Chain([Dense(2, label="a"), Dense(2, label="a")])], "two layers have the label"),
        (lambda: [Chain([Standardization(), Dense(2)])], r"'chain_1\..*': learns from"),
        (lambda: [Chain([Dense(2), "flatten", "nothing"])], r"layers\[2\]: there is no layer"),
    ],
)
def test_invalid_arguments_are_refused(layers, message):
    with pytest.raises(ArgumentError, match=message):
        gpunn.Sequential(layers(), 4, "numpy")


def test_a_layer_that_does_not_fit_is_named():
    layers = [gpunn.layers.Flatten(), Chain([Dense(3), "layer_norm"]), Dense(2)]
    gpunn.Sequential(layers, (2, 2), "numpy")
    with pytest.raises(ArgumentError, match="layer 'chain_1': layer 'dense_1': dense: expected ro"):
        gpunn.Sequential([Chain([Dense(3)])], (2, 2), "numpy")


def test_one_layer_has_one_place():
    shared = Dense(4)
    with pytest.raises(ArgumentError, match="the same layer object occurs twice"):
        gpunn.Sequential([Chain([shared]), shared], 4, "numpy")
