"""A prepared fit trains as `fit` does, at once or in parts."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gpunn
from gpunn.errors import ConcurrentUseError, DataError


def trainer():
    layers = [gpunn.layers.Dense(5, activation="relu"), gpunn.layers.Dropout(0.2)]
    model = gpunn.Sequential([*layers, gpunn.layers.Dense(2)], 3, backend="numpy", seed=1)
    return gpunn.Trainer(model, "mean_squared_error", metrics=["r2"])


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    return random.normal(size=(50, 3)), random.normal(size=(50, 2))


OPTIONS = {"epochs": 6, "batch_size": 8, "validation_split": 0.2, "progress": False}


def results(trained):
    logs = {k: v for k, v in trained.history.items() if not k.endswith(("seconds", "second"))}
    return logs, trained.model.parameters.to_host()


@pytest.mark.parametrize("parts", [[], [1], [2, 2, 5]])
def test_in_parts(data, parts):
    expected, actual = trainer(), trainer()
    expected.fit(*data, **OPTIONS)
    with actual.prepare(*data, **OPTIONS) as fit:
        for until in parts:
            assert not fit.advance(until)
            assert actual.epoch == until
        assert fit.advance()
        assert (fit.first_epoch, fit.last_epoch) == (0, 6)
    np.testing.assert_equal(results(actual), results(expected))


def test_another_thread_continues(data):
    expected, actual = trainer(), trainer()
    expected.fit(*data, **OPTIONS)
    with ThreadPoolExecutor(2) as pool:
        fit = pool.submit(actual.prepare(*data, **OPTIONS).__enter__).result()
        pool.submit(fit.advance, 2).result()
        with pytest.raises(ConcurrentUseError):
            actual.evaluate(*data)
        assert fit.advance()
        actual.evaluate(*data)  # by the thread that continued
        pool.submit(fit.__exit__, None, None, None).result()
    np.testing.assert_equal(results(actual), results(expected))
    assert actual.evaluate(*data) == expected.evaluate(*data)


def test_a_rule_ends_training_early(data):
    rule = gpunn.callbacks.EarlyStopping("val_loss", patience=1, min_delta=10.0)
    with trainer().prepare(*data, **OPTIONS, callbacks=[rule]) as fit:
        assert fit.advance(until=5)
        assert fit.trainer.epoch < 5


def test_bad_arguments_are_found_before_training(data):
    with pytest.raises(DataError, match="y: expected"):
        trainer().prepare(data[0], data[1][:4])
