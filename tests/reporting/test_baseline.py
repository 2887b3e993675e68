"""The baseline of a report, compared with scikit-learn's dummies and the formulas."""

from types import SimpleNamespace

import numpy as np
import pytest

import gpunn
from gpunn.experiment.splits import Split
from gpunn.layers import Dense, TargetScaling
from gpunn.reporting.findings import baseline

RANDOM = np.random.default_rng(0)


def found(loss, metrics, training, test, outputs, layers=()):
    model = gpunn.Sequential([Dense(outputs), *layers], 2, "numpy", dtype="float64")
    objects = SimpleNamespace(
        validation_metrics=[],
        loss=gpunn.Trainer(model, loss).loss,
        metrics=gpunn.Trainer(model, loss, metrics=metrics).metrics,
    )
    splits = [Split(np.zeros((len(y), 2)), np.asarray(y)) for y in (training, test)]
    return baseline(model, objects, *splits)


def test_classes():
    metrics = pytest.importorskip("sklearn.metrics")
    dummy = pytest.importorskip("sklearn.dummy").DummyClassifier(strategy="prior")
    training, test = RANDOM.choice(3, 90, p=[0.2, 0.7, 0.1]), RANDOM.choice(3, 40)
    dummy.fit(np.zeros((90, 1)), training)
    probabilities = dummy.predict_proba(np.zeros((40, 1)))
    what, figures = found("softmax_cross_entropy", ["accuracy"], training, test, 3)
    assert what == "most frequent class"
    assert figures["accuracy"] == pytest.approx(np.mean(test == 1))
    assert figures["loss"] == pytest.approx(metrics.log_loss(test, probabilities))


def test_two_classes_by_one_output():
    training, test = np.array([0, 0, 0, 1]), np.array([0, 1])
    what, figures = found("binary_cross_entropy", ["binary_accuracy", "auc"], training, test, 1)
    assert what == "most frequent class"
    assert figures["binary_accuracy"] == 0.5
    assert figures["auc"] == 0.5
    assert figures["loss"] == pytest.approx(-np.mean(np.log([0.75, 0.25])))


def test_labels():
    training = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], float)
    what, figures = found("binary_cross_entropy", ["binary_accuracy"], training, training, 2)
    assert what == "most frequent answer"
    assert figures["binary_accuracy"] == 0.75


def test_a_class_that_no_training_row_has():
    figures = found("softmax_cross_entropy", ["accuracy"], [0, 0, 1], [2, 2], 3)[1]
    assert figures["accuracy"] == 0
    assert np.isfinite(figures["loss"])


@pytest.mark.parametrize("layers", [[], [TargetScaling()]])
def test_numbers(layers):
    """In their own unit, and without a loss that the network takes in another one."""
    training, test = RANDOM.normal(5, 2, (50, 1)), RANDOM.normal(5, 2, (30, 1))
    metrics = ["r2", "root_mean_squared_error"]
    what, figures = found("mean_squared_error", metrics, training, test, 1, layers)
    error = np.mean((test - training.mean()) ** 2)
    assert what == "mean"
    assert figures["root_mean_squared_error"] == pytest.approx(error**0.5)
    assert figures["r2"] == pytest.approx(1 - error / test.var())
    assert ("loss" in figures) == (not layers)


def test_rates():
    training, test = np.array([0, 2, 4]), np.array([1, 3])
    figures = found("poisson", ["mean_absolute_error"], training, test, 1)[1]
    assert figures["loss"] == pytest.approx(2 - 2 * np.log(2))
