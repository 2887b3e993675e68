"""Weights to and from the real scikit-learn."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

import gpunn
from gpunn import errors
from gpunn.interchange import from_sklearn, to_sklearn
from gpunn.layers import (
    Activation,
    BatchNorm,
    Chain,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    Rescaling,
    Standardization,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(2, 3, (60, 5))
NUMBERS = X @ RANDOM.normal(size=(5, 2))
CLASSES = np.array(["ant", "bee", "cat"])[np.digitize(X[:, 0], [1, 3])]
YES = X[:, 1] > 2
LABELS = (X[:, :3] > 2).astype(int)


def fitted(estimator, y, X=X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)


@pytest.mark.parametrize("activation", ["identity", "relu", "logistic", "tanh"])
@pytest.mark.parametrize("y", [NUMBERS, NUMBERS[:, 0]], ids=["two outputs", "one output"])
def test_a_regressor(activation, y):
    estimator = fitted(
        MLPRegressor(hidden_layer_sizes=(7, 4), activation=activation, max_iter=5, random_state=0),
        y,
    )
    model = from_sklearn(estimator, "numpy")
    assert model.dtype == "float64"
    expected = estimator.predict(X).reshape(len(X), -1)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-9, atol=1e-9)
    assert model.metadata == {"output_activation": "identity"}


@pytest.mark.parametrize(
    ("y", "names"),
    [(CLASSES, ["ant", "bee", "cat"]), (YES, ["False", "True"]), (LABELS, None)],
    ids=["classes", "two classes", "labels"],
)
def test_a_classifier(y, names):
    estimator = fitted(MLPClassifier(hidden_layer_sizes=(6,), max_iter=5, random_state=0), y)
    model = from_sklearn(estimator, "numpy", "float32")
    assert model.dtype == "float32"
    assert model.classes == names
    np.testing.assert_allclose(model.predict_proba(X), estimator.predict_proba(X), atol=1e-5)


def test_names_of_features_are_copied():
    frame = pd.DataFrame(X, columns=list("abcde"))
    estimator = fitted(MLPRegressor(hidden_layer_sizes=(2,), max_iter=2), NUMBERS, frame)
    model = from_sklearn(estimator, "numpy")
    assert model.feature_names == list(frame)
    moved = frame[list(frame)[::-1]]
    np.testing.assert_array_equal(model.predict(moved), model.predict(frame))
    again = to_sklearn(model, "numbers")
    assert list(again.feature_names_in_) == list(frame)


def test_invalid_estimators():
    with pytest.raises(errors.ArgumentTypeError, match="expected an MLPClassifier"):
        from_sklearn(object())
    with pytest.raises(errors.ArgumentError, match="not fitted yet"):
        from_sklearn(MLPRegressor())
    estimator = fitted(MLPRegressor(hidden_layer_sizes=(2,), max_iter=2), NUMBERS)
    estimator.activation = "rleu"
    with pytest.raises(errors.ArgumentError, match="did you mean 'relu'"):
        from_sklearn(estimator)


def trained(layers, y, loss, dtype="float64"):
    model = gpunn.Sequential(layers, (5,), "numpy", dtype=dtype)
    trainer = gpunn.Trainer(model, loss, gpunn.optimizers.Adam(0.01))
    trainer.fit(X, y, epochs=3, progress=False)
    return model


def test_numbers_with_preprocessing():
    layers = [
        Rescaling(0.5, 1.0),
        Dense(6, bias=False),
        BatchNorm(),
        Activation("tanh"),
        BatchNorm(),
        Rescaling(2.0),
        Chain([Dropout(0.5), Chain([Dense(4, "tanh")])]),
        Dense(2),
        Rescaling(3.0, -1.0),
    ]
    model = trained(layers, NUMBERS, "mean_squared_error")
    estimator = to_sklearn(model, "numbers")
    assert estimator.hidden_layer_sizes == (6, 4)
    np.testing.assert_allclose(estimator.predict(X), model.predict(X), rtol=1e-9, atol=1e-9)


def test_standardized_classes_by_name():
    model = trained(
        [Standardization(), Dense(6, "relu"), Dense(3)],
        np.unique(CLASSES, return_inverse=True)[1],
        "softmax_cross_entropy",
    )
    model.metadata["classes"] = ["ant", "bee", "cat"]
    estimator = to_sklearn(model, "classes")
    np.testing.assert_allclose(estimator.predict_proba(X), model.predict_proba(X), atol=1e-9)
    assert estimator.predict(X).tolist() == [
        ["ant", "bee", "cat"][place] for place in model.predict(X).argmax(axis=1)
    ]
    assert 0 < estimator.score(X, CLASSES) <= 1
    assert to_sklearn(model, "classes", [10, 20, 30]).predict(X[:1])[0] in (10, 20, 30)


def test_two_classes_and_labels():
    model = trained([Dense(4, "sigmoid"), Dense(1)], YES, "binary_cross_entropy")
    estimator = to_sklearn(model, "classes")
    np.testing.assert_allclose(estimator.predict_proba(X), model.predict_proba(X), atol=1e-9)
    assert np.array_equal(estimator.predict(X), model.predict(X)[:, 0] > 0)
    model.threshold = 0.25
    with pytest.warns(errors.GpunnWarning, match=r"FixedThresholdClassifier\(threshold=0.25\)"):
        to_sklearn(model, "classes")
    model = trained([Dense(4, "relu"), Dense(3)], LABELS, "binary_cross_entropy")
    estimator = to_sklearn(model, "labels")
    np.testing.assert_allclose(estimator.predict_proba(X), model.predict_proba(X), atol=1e-9)
    assert np.array_equal(estimator.predict(X), model.predict(X) > 0)


def test_channels_before_the_rows_are_flattened():
    model = gpunn.Sequential([BatchNorm(), Flatten(), Dense(3)], (2, 2, 2), "numpy")
    for name, array in {"running_mean": [1.0, -2.0], "shift": [0.5, 3.0]}.items():
        model.parameters[f"batch_norm_1.{name}"] = np.array(array)
    images = np.random.default_rng(0).normal(size=(5, 2, 2, 2))
    y = to_sklearn(model, "numbers").predict(images.reshape(5, -1))
    np.testing.assert_allclose(y, model.predict(images), atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ([Dense(4, "gelu"), Dense(2)], "layer 'dense_1': scikit-learn's networks have no activati"),
        ([Dense(4, "relu"), LayerNorm(), Dense(2)], "layer 'layer_norm_1': scikit-learn's netwo"),
        ([Dense(4, "relu"), Dense(4, "tanh"), Dense(2)], "this network has relu, tanh"),
        ([Dense(4, "relu"), Dense(2, "relu")], "end in a dense layer without an activation"),
        ([Dense(4, "relu"), Dense(2), Activation("tanh"), BatchNorm()], "end in a dense layer"),
        ([Activation("relu"), Dense(2)], "layer 'activation_1': scikit-learn's networks can't h"),
        ([BatchNorm()], "need a dense layer; this network has none"),
    ],
)
def test_unsupported_layers(layers, problem):
    with pytest.raises(errors.ExportError) as raised:
        to_sklearn(gpunn.Sequential(layers, (5,), "numpy"), "numbers")
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("clases",), "did you mean 'classes'"),
        (("classes", ["a"]), "expected a list of length 2 for a network with 2 outputs; got"),
        (("classes", ["b", "a"]), "got 'a' after 'b'"),
    ],
)
def test_invalid_arguments(arguments, problem):
    with pytest.raises(errors.ArgumentError) as raised:
        to_sklearn(gpunn.Sequential([Dense(2)], (5,), "numpy"), *arguments)
    assert problem in str(raised.value)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    with pytest.raises(errors.MissingPackageError, match="pip install scikit-learn"):
        to_sklearn(gpunn.Sequential([Dense(2)], (5,), "numpy"), "numbers")
