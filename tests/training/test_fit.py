"""A prepared fit trains as `fit` does, at once or in parts."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gpunn
from gpunn.errors import ArgumentError, ArgumentTypeError, ConcurrentUseError, DataError


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
        assert (fit.trainer.first_epoch, fit.trainer.last_epoch) == (0, 6)
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


@pytest.mark.parametrize("train", [None, np.arange(49, 14, -2)])
def test_rows_by_number(data, train):
    """The same as copies of the rows in ascending order, without copies."""
    X, y = np.float32(data[0]), data[1]
    held, weights = np.array([3, 1, 12]), np.linspace(0.5, 1, 50)
    kept = np.delete(np.arange(50), held) if train is None else np.sort(train)
    options = OPTIONS | {"validation_split": 0.0}
    actual, expected = trainer(), trainer()
    fit = actual.prepare(X, y, sample_weight=weights, rows=train, validation_rows=held, **options)
    assert np.shares_memory(fit.session.training.dataset.X, X)
    fit.run()
    held.sort()
    validation = X[held], y[held], weights[held]
    expected.fit(
        X[kept], y[kept], sample_weight=weights[kept], validation_data=validation, **options
    )
    np.testing.assert_equal(results(actual), results(expected))


def test_rows_without_validation(data):
    fit = trainer().prepare(*data, rows=range(20), epochs=1, progress=False)
    assert (fit.session.training.rows, fit.session.validation) == (20, None)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"rows": [0, 50]}, "rows: expected numbers from 0 to 49; got 50"),
        ({"rows": [-1, 2]}, "rows: expected numbers from 0 to 49; got -1"),
        ({"rows": [4, 1, 4]}, "rows: row 4 occurs more than once; give each row once"),
        ({"rows": []}, "rows: expected a list of row numbers"),
        ({"rows": [0.5]}, "rows: expected a list of row numbers"),
        ({"validation_rows": np.arange(50) < 5}, r"got Booleans. Use numpy.flatnonzero\(mask\)"),
        ({"validation_rows": range(50)}, "validation_rows: contains all rows of X; leave"),
        ({"rows": [1, 2, 3], "validation_rows": [2]}, "shares 1 row number with rows, such as 2"),
        ({"rows": [1], "validation_split": 0.2}, "validation_split: can't be combined with rows"),
        ({"validation_rows": [1], "validation_data": ([], [])}, "with validation_rows; use"),
        ({"y": None, "rows": [1]}, "rows: works only with arrays"),
        (
            {"validation_rows": [1], "sample_weight": np.arange(50) != 1},
            "validation_rows: all these rows have a sample weight of zero",
        ),
    ],
)
def test_impossible_rows(data, given, problem):
    X, y = data
    if "y" in given:
        X = [data]
    with pytest.raises((ArgumentError, ArgumentTypeError, DataError), match=problem):
        trainer().prepare(X, **{"y": y, **given})
