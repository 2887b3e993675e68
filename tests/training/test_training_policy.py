"""A policy's decisions, and that the trainer follows them."""

from typing import ClassVar

import numpy as np
import pytest
from equality import values

import gpunn
from gpunn import layers
from gpunn.errors import ArgumentError
from gpunn.training.training_policy import TrainingPolicy

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(20, 3)), RANDOM.normal(size=(20, 2))


def trained(policy=None, X=X, Y=Y, **options):
    model = gpunn.Sequential([layers.Dense(4, "relu"), layers.Dense(2)], 3, "numpy", seed=1)
    trainer = gpunn.Trainer(model, "mean_squared_error")
    trainer.policy = policy or TrainingPolicy()
    trainer.fit(X, Y, **{"epochs": 2, "batch_size": 8, "progress": False, **options})
    return trainer


class Backwards(TrainingPolicy):
    def orders(self, trainer, rows, epochs):
        return np.tile(np.arange(rows)[::-1], (epochs, 1))


class Halved(TrainingPolicy):
    def learning_rates(self, trainer, updates, duration):
        return super().learning_rates(trainer, updates, duration) / 2


class Once(TrainingPolicy):
    def observe(self, trainer, logs):
        return f"seen {logs['loss']:.3f}"


class Careless(TrainingPolicy):
    finds_causes = False

    def diverged(self, message):
        self.message = message


class Largest(TrainingPolicy):
    validation_metrics: ClassVar = {"largest": None}

    def score(self, outputs):
        assert outputs.shape == Y.shape
        return {"largest": float(outputs.max())}


def test_order():
    expected = trained(X=X[::-1], Y=Y[::-1], shuffle=False)
    np.testing.assert_array_equal(values(trained(Backwards())), values(expected))


@pytest.mark.parametrize("wrong", [slice(19), slice(0, 0), [*range(20), 0], None, ...])
def test_wrong_orders_are_refused(wrong):
    class Wrong(TrainingPolicy):
        def orders(self, trainer, rows, epochs):
            order = np.arange(rows) + (wrong is ...)
            return order if wrong is None else np.stack([order] * epochs)[:, wrong]

    message = r"policy: the method orders must return row numbers from 0 to 19 in an array"
    with pytest.raises(ArgumentError, match=message):
        trained(Wrong())


def test_learning_rates():
    assert trained(Halved()).history["learning_rate"] == [5e-4, 5e-4]


def test_a_reason_to_stop():
    trainer = trained(Once())
    assert trainer.epoch == 1
    assert trainer.history.stopped == f"seen {trainer.history['loss'][0]:.3f}"


def test_divergence_may_be_ignored():
    policy = Careless()
    trainer = trained(policy, X=np.full_like(X, 1e38))
    assert trainer.epoch == 2
    assert policy.message.startswith("loss: not a finite number since epoch 2, step 1")


@pytest.mark.parametrize("validated", [True, False])
def test_metrics_of_its_own(validated):
    trainer = trained(Largest(), validation_data=(X, Y) if validated else None)
    assert ("val_largest" in trainer.log_names) is validated
    assert set(trainer.history) == set(trainer.log_names)
    assert trainer.larger_is_better["val_largest"] is None
    if validated:
        expected = trainer.model.predict(X).max()
        assert trainer.history["val_largest"][-1] == pytest.approx(expected)
