"""Reference models predict each kind of target, even if classes are missing in a fold."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from gpunn.sklearn.automatic.reference_models import (
    BASELINES,
    LIBRARIES,
    EncodedRows,
    Task,
    check_libraries,
    predicted,
)
from gpunn.tables import Schema

RANDOM = np.random.default_rng(0)
ROWS = 80
SIZE = RANDOM.normal(size=ROWS)
CITY = RANDOM.choice(["Bern", "Oslo", "Rome"], ROWS)
TABLE = {"size": SIZE, "city": CITY}
SCHEMA = Schema.fit(TABLE, scaling="none")
X = SCHEMA.encode(TABLE, "float64")
NUMBER = np.exp(0.5 * SIZE + (CITY == "Rome"))
CLASS = (SIZE > 0) * 1 + (CITY == "Rome")
TARGETS = {
    "classification": CLASS,
    "multilabel": np.stack([SIZE > 0, CITY == "Rome", CITY == "Kiel"], axis=1) * 1,
    "regression": np.stack([NUMBER, SIZE], axis=1),
}
MODELS = {**BASELINES, "sklearn": LIBRARIES["sklearn"]}


def task_of(kind, outputs, log=False, quantiles=None):
    return Task(kind, outputs, log, quantiles, 0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("task", TARGETS)
def test_every_kind_of_target(name, task):
    y, weights = TARGETS[task], np.ones(ROWS)
    training, held = (
        EncodedRows(X[:60], y[:60], weights[:60]),
        EncodedRows(X[60:], y[60:], weights[60:]),
    )
    outputs = 4 if task == "classification" else y.shape[1]
    predictions = predicted(MODELS[name], training, held, SCHEMA, task_of(task, outputs))
    assert predictions.shape == (20, outputs)
    if task == "classification":
        np.testing.assert_allclose(predictions.sum(axis=1), 1, 1e-5)
        assert (predictions[:, 3] > 0).all(), "else the log loss would be infinite"
        assert (predictions[:, 3] < 1e-9).all(), "no row has this class"
        guess = log_loss(y[60:], np.full((20, 3), 1 / 3))
        assert log_loss(y[60:], predictions[:, :3]) < guess
    elif task == "multilabel":
        assert (predictions[:, 2] < 1e-9).all()
    elif name != "constant":
        assert np.corrcoef(predictions[:, 0], y[60:, 0])[0, 1] > 0.7


def test_classes_that_the_training_rows_lack():
    rows = CLASS < 2
    training = EncodedRows(X[rows], CLASS[rows], np.ones(rows.sum()))
    held = EncodedRows(X, CLASS, np.ones(ROWS))
    for model in MODELS.values():
        predictions = predicted(model, training, held, SCHEMA, task_of("classification", 3))
        assert (predictions[:, 2] < 1e-9).all()


@pytest.mark.parametrize("name", BASELINES)
def test_logarithms_and_quantiles(name):
    part = EncodedRows(X, NUMBER, np.ones(ROWS))
    levels = (0.1, 0.5, 0.9)
    for log in (False, True):
        quantiles = predicted(
            BASELINES[name], part, part, SCHEMA, task_of("regression", 3, log, levels)
        )
        below = (NUMBER[:, None] <= quantiles).mean(axis=0)
        np.testing.assert_allclose(below, levels, atol=0.02)


def test_no_libraries_for_quantiles():
    with pytest.raises(ValueError, match="compare: cannot be combined with quantiles"):
        check_libraries(["sklearn"], (0.1, 0.5, 0.9))


@pytest.mark.parametrize("function", [np.asarray, np.log])
def test_the_linear_model_gets_numbers_and_their_quantiles(function):
    x = np.exp(RANDOM.normal(size=1000))[:, None]
    y = 5 + 3 * function(x[:, 0])
    training, held = (
        EncodedRows(x[rows], y[rows], np.ones(500)) for rows in (slice(500), slice(500, None))
    )
    schema = Schema.fit(x, scaling="none")
    predictions = predicted(
        BASELINES["linear model"], training, held, schema, task_of("regression", 1)
    )
    assert np.abs(predictions[:, 0] - y[500:]).mean() < 0.1 * y.std()
    assert predictions.max() <= y[:500].max()
