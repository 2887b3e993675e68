"""Layers within layers: names, shapes, copies, files."""

import copy
import pickle

import numpy as np
import pytest
from layers.checking import check_chain_rule
from layers.test_passes import Residual

import gpunn
from gpunn.errors import ArgumentError
from gpunn.layers import BatchNorm, Chain, Dense, Dropout, Standardization

X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)


def network():
    inner = Chain([Dense(5, "relu"), "dropout", Dense(4, label="out")])
    return gpunn.Sequential([Residual([inner, BatchNorm()]), Dense(2)], 4, "numpy", seed=1)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Chain([Dense(5, "tanh"), Dense(3)]),
        lambda: Chain([BatchNorm(), Chain([Dense(3, "gelu")]), Dropout(0.4)]),
        lambda: Residual([Dense(5, "gelu"), Dense(4)]),
    ],
)
def test_obeys_the_chain_rule(host_backend, layer):
    check_chain_rule(layer(), (4,), host_backend)


def test_parameters_are_named_by_the_way_to_them():
    names = list(network().parameters)
    assert names[:2] == [
        "test_residual_1.body.chain_1.dense_1.weights",
        "test_residual_1.body.chain_1.dense_1.biases",
    ]
    assert "test_residual_1.body.chain_1.out.weights" in names
    assert "test_residual_1.body.batch_norm_1.running_mean" in names


def test_copies_and_files_compute_the_same(tmp_path):
    model = network()
    trainer = gpunn.Trainer(model, "mean_squared_error")
    trainer.fit(X, X[:, :2], epochs=2, batch_size=3, progress=False)
    expected = model.predict(X)
    model.save(tmp_path / "model.safetensors")
    for again in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        gpunn.load_model(tmp_path / "model.safetensors", backend="numpy"),
    ):
        np.testing.assert_array_equal(again.predict(X), expected)
        again.parameters["dense_1.biases"] = np.ones(2)
    np.testing.assert_array_equal(model.predict(X), expected)


def test_masks_differ_from_layer_to_layer():
    model = gpunn.Sequential([Chain([Dropout(0.5), Dropout(0.5)]), Dense(1)], 3, "numpy")
    first, second = model.layers[0].children().values()
    assert len({first.key, second.key, model.layers[0].key, 0}) == 4


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: [Chain([])], "layers: expected a list of at least one layer"),
        (lambda: [Chain([Dense(2, label="a"), Dense(2, label="a")])], "two layers have the label"),
        (lambda: [Chain([Standardization(), Dense(2)])], "'chain_1': contains a layer that learns"),
        (lambda: [Chain([Dense(2), "flatten", "nothing"])], r"layers\[2\]: there is no layer"),
    ],
)
def test_what_cannot_be_is_refused(layers, message):
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
