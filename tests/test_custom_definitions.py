"""Custom activations, losses, metrics and optimizers: a few lines, used like built-in ones.

Each is a built-in one written again, so a training with them must come out the same.
"""

from dataclasses import dataclass

import array_api_strict
import numpy as np
import pytest
from equality import assert_arrays

import gpunn
from gpunn.activations import Activation
from gpunn.backends import Backend
from gpunn.errors import ArgumentError
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.optimizers import Optimizer


class MyTanh(Activation):
    name = "my_tanh"

    def value(self, xp, z):
        return xp.tanh(z)


@dataclass(frozen=True)
class MyHuber(Loss):
    delta: float = 1.0

    name = "my_huber"

    def values(self, xp, predictions, targets):
        d = xp.abs(predictions - targets)
        near, far = d * d / 2, self.delta * (d - self.delta / 2)
        return xp.mean(xp.where(d <= self.delta, near, far), axis=1)


class MyError(Metric):
    name = "my_error"

    def measure(self, xp, predictions, targets, weights):
        rows = xp.mean(xp.abs(predictions - targets), axis=1)
        return xp.sum(weights * rows, keepdims=True)


@dataclass(eq=False)
class MyMomentum(Optimizer):
    momentum: float = 0.9

    name = "my_momentum"
    slots = ("velocity",)

    def update(self, xp, values, gradients, slots, learning_rate, step):
        velocity = slots["velocity"]
        velocity[...] = self.momentum * velocity - learning_rate * gradients
        values += velocity


BACKENDS = ["numpy", Backend(np), Backend(array_api_strict, array_api_strict.Device("device1"))]


def train(backend, activation, loss, metric, optimizer):
    g = np.random.default_rng(0)
    X = g.standard_normal((50, 4)).astype("float32")
    y = np.stack([X[:, 0] * X[:, 1], X.sum(axis=1)], axis=1)
    model = gpunn.Sequential(
        [gpunn.layers.Dense(8, activation), gpunn.layers.Dense(2)], 4, backend=backend
    )
    trainer = gpunn.Trainer(model, loss, optimizer, [metric])
    history = trainer.fit(X, y, epochs=3, batch_size=16, progress=False)
    return model.predict(X), history["loss"], history[getattr(metric, "name", metric)]


BUILTIN = (
    "tanh",
    gpunn.losses.Huber(0.5),
    "mean_absolute_error",
    gpunn.optimizers.SGD(0.05, momentum=0.8),
)
BY_INSTANCE = (MyTanh(), MyHuber(0.5), MyError(), MyMomentum(0.05, momentum=0.8))
BY_NAME = (
    "my_tanh",
    {"name": "my_huber", "delta": 0.5},
    "my_error",
    {"name": "my_momentum", "learning_rate": 0.05, "momentum": 0.8},
)


@pytest.mark.parametrize("backend", BACKENDS, ids=["numpy", "base", "strict"])
@pytest.mark.parametrize("given", [BY_INSTANCE, BY_NAME], ids=["instance", "name"])
def test_training_comes_out_as_with_the_builtin_ones(backend, given):
    reference = train("numpy", *BUILTIN)
    custom = train(backend, *given)
    for actual, expected in zip(custom, reference, strict=True):
        # float32 over a dozen updates of order 0.01 each
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("base", "call", "missing"),
    [
        (Activation, lambda f: f.value(np, 1.0), "value"),
        (Activation, lambda f: f.derivative(np, np.ones(2), np.ones(2)), "value"),
        (Loss, lambda f: f.values(np, 1.0, 1.0), "values"),
        (Loss, lambda f: f.gradients(np, np.ones((2, 1)), np.ones((2, 1))), "values"),
        (Metric, lambda f: f.measure(np, 1.0, 1.0, 1.0), "measure"),
        (Optimizer, lambda f: f.update(np, 1.0, 1.0, {}, 1.0, 1), "update"),
    ],
)
def test_missing_methods_are_named(base, call, missing):
    class Unfinished(base):
        pass

    with pytest.raises(NotImplementedError, match=f"Unfinished must define {missing}"):
        call(Unfinished())


class MeanLoss(Loss):
    """Average over all rows, as losses of other libraries do."""

    name = "mean_loss"

    def values(self, xp, predictions, targets):
        return xp.mean((predictions - targets) ** 2)

    def gradients(self, xp, predictions, targets):
        return 2 * (predictions - targets) / predictions.shape[1]


class RowGradients(MeanLoss):
    name = "row_gradients"

    def values(self, xp, predictions, targets):
        return xp.mean((predictions - targets) ** 2, axis=1)

    def gradients(self, xp, predictions, targets):
        return xp.mean(predictions - targets, axis=1, keepdims=True)


class MeanMetric(Metric):
    name = "mean_metric"

    def measure(self, xp, predictions, targets, weights):
        return xp.mean(xp.abs(predictions - targets))


class NumberMetric(Metric):
    name = "number_metric"

    def measure(self, xp, predictions, targets, weights):
        return 1.0


class ShortCombination(Metric):
    name = "short_combination"

    def measure(self, xp, predictions, targets, weights):
        return xp.sum(weights, keepdims=True)

    def combine(self, xp, first, second):
        return xp.sum(first + second)


@pytest.mark.parametrize("backend", BACKENDS, ids=["numpy", "base", "strict"])
@pytest.mark.parametrize(
    ("loss", "metric", "message"),
    [
        (
            MeanLoss(),
            None,
            r"loss 'mean_loss': the method values returned a number; expected an array of shape "
            r"\(8,\), one number per row. The backend averages over the rows",
        ),
        (RowGradients(), None, r"'row_gradients': the method gradients returned shape \(8, 1\)"),
        (
            "mean_squared_error",
            MeanMetric(),
            r"metric 'mean_metric': the method measure .* expected an array of shape \(1,\), a "
            "vector of length size.*keepdims=True",
        ),
        ("mean_squared_error", NumberMetric(), "'number_metric': .* returned a number"),
        ("mean_squared_error", ShortCombination(), "'short_combination': the method combine"),
    ],
)
def test_methods_that_return_the_wrong_shape_are_named(backend, loss, metric, message):
    g = np.random.default_rng(0)
    X, y = g.standard_normal((20, 3)).astype("float32"), g.standard_normal((20, 2))
    model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend, seed=0)
    before = model.parameters.to_host()
    trainer = gpunn.Trainer(model, loss, metrics=[metric] if metric else [])
    with pytest.raises(ArgumentError, match=message):
        trainer.fit(X, y, batch_size=8, progress=False)
    assert_arrays(model.parameters.to_host(), before)


@pytest.mark.parametrize("value", [np.ones(1), [0.5], "high", None])
def test_a_result_that_is_no_number_is_named(value):
    class Odd(ShortCombination):
        name = "odd_result"

        def combine(self, xp, first, second):
            return first + second

        def result(self, summary, weight):
            return value

    model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, "numpy", seed=0)
    trainer = gpunn.Trainer(model, "mean_squared_error", metrics=[Odd()])
    with pytest.raises(ArgumentError, match=r"'odd_result': the method result\(\) must return a"):
        trainer.evaluate(np.ones((4, 3)), np.ones((4, 2)))
