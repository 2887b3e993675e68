"""A single network that has learned an ensemble's predictions, and replaces it."""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier

from gpunn.errors import ArgumentError, DivergenceError
from gpunn.sklearn import RealMLPRegressor, TabularClassifier, TabularRegressor
from gpunn.sklearn.automatic import search
from gpunn.sklearn.automatic.search import fold_to_learn
from gpunn.sklearn.tabular_fits import Fold, Rows
from gpunn.tables import table_of

ROWS = 60
RANDOM = np.random.default_rng(0)
X = {"a": RANDOM.normal(size=ROWS), "b": RANDOM.choice(["x", "y"], ROWS)}
NUMBERS = 3 + X["a"] + 0.5 * (X["b"] == "x")
SETTINGS = {"n_cv": 2, "random_state": 0, "distill": [8], "backend": "numpy"}
SMALL = {
    "TabM": {"members": 2, "hidden_layer_sizes": [16], "epochs": 8, "bins": 4},
    "RealMLP": {"hidden_layer_sizes": [16], "epochs": 32},
}


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_what_the_network_learns(task):
    """Predictions of the training rows, and the truth about the validation rows."""
    truth = np.arange(6) % 2 if task == "classification" else np.arange(12.0).reshape(6, 2)
    every = Rows(table_of({"a": np.arange(6.0)}), truth, np.arange(6.0))
    held, learned = np.array([4, 1, 3]), np.arange(12).reshape(6, 2) / 12
    fold = Fold(every, np.array([0, 2, 5]), held, every.take(held))
    fold = fold_to_learn(fold, task, learned)
    rows = fold.training
    assert rows.table.column("a").tolist() == rows.weights.tolist() == [0, 2, 5]
    np.testing.assert_array_equal(rows.targets, learned[[0, 2, 5]])
    true = np.eye(2)[[0, 1, 1]] if task == "classification" else truth[held]
    np.testing.assert_array_equal(fold.validation.targets, true)


def test_teachers(monkeypatch):
    """The scored network's teacher has not seen the held-out rows; the ensemble teaches the other.

    Networks teach as often as the ensemble counts them.
    """
    lessons = []

    def recorded(fold, task, learned):
        lessons.append((fold, learned[:, 0]))
        return fold_to_learn(fold, task, learned + 100 * len(lessons))

    monkeypatch.setattr(search, "fold_to_learn", recorded)
    monkeypatch.setattr(search, "parameters_of", lambda trial, seed: SMALL[trial.family])
    estimator = TabularRegressor(**SETTINGS).set_params(n_ens=2)
    ensemble = clone(estimator).set_params(distill=False).fit(X, NUMBERS).predict(X)
    held = estimator.fit(X, NUMBERS).oof_predictions_
    (fold, of_first), (rows, of_all) = lessons
    np.testing.assert_allclose(of_first[fold.held], held[fold.held], 1e-5, 1e-5)
    assert not np.isclose(of_first[fold.kept], held[fold.kept]).any()
    assert rows.kept is rows.held is None
    assert len(rows.training.targets) == ROWS
    np.testing.assert_allclose(of_all, ensemble, 1e-5, 1e-5)
    assert estimator.validation_score_ == pytest.approx(100, abs=10), "of the first network"
    assert estimator.predict(X).mean() == pytest.approx(203, abs=10), "of the second network"


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (TabularClassifier(threshold_for="f1", class_weight="balanced"), NUMBERS > 3),
        (TabularRegressor(target_transform="log"), np.exp(NUMBERS)),
    ],
)
def test_one_network_in_place_of_the_ensemble(estimator, y, monkeypatch, tmp_path):
    monkeypatch.setattr(search, "parameters_of", lambda trial, seed: SMALL[trial.family])
    estimator.set_params(**SETTINGS).fit(X, y)
    first, ensemble, *_ = estimator.leaderboard_
    assert (first["kind"], ensemble["kind"]) == ("distilled", "ensemble")
    assert first["note"].startswith("scored on 30 rows; the ensemble's score on these is ")
    assert first["score"] == estimator.validation_score_
    assert first["size"] == estimator.network_.parameters.count < ensemble["size"]
    assert len(estimator.estimators_) == len(estimator.best_epoch_) == 1
    assert (estimator.network_.threshold is None) != is_classifier(estimator)
    assert estimator.score(X, y) > 0.6
    estimator.save(tmp_path / "a")
    again = type(estimator).load(tmp_path / "a")
    np.testing.assert_array_equal(again.predict(X), estimator.predict(X))
    assert again.leaderboard_ == estimator.leaderboard_


@pytest.mark.parametrize("lesson", [1, 2])
@pytest.mark.parametrize(
    ("error", "stopped"),
    [(KeyboardInterrupt(), "interrupted by Ctrl-C"), (DivergenceError("a NaN"), "")],
)
def test_the_ensemble_remains_after_an_error(error, stopped, lesson, monkeypatch):
    train, lessons = RealMLPRegressor._train_networks, iter([1, 2])

    def failing(student, folds, schema, seed):
        if student.hidden_layer_sizes == SETTINGS["distill"] and next(lessons) == lesson:
            raise error
        return train(student, folds, schema, seed)

    monkeypatch.setattr(RealMLPRegressor, "_train_networks", failing)
    monkeypatch.setattr(search, "parameters_of", lambda trial, seed: SMALL[trial.family])
    estimator = TabularRegressor(**SETTINGS).fit(X, NUMBERS)
    assert estimator.leaderboard_[0]["kind"] == "ensemble"
    assert estimator.stopped_ == stopped
    (row,) = [each for each in estimator.leaderboard_ if each["kind"] == "distilled"]
    assert (row["score"], row["note"]) == (None, stopped or "a NaN")
    assert len(estimator.estimators_) > 1


def test_quantiles_are_not_distilled():
    regressor = TabularRegressor(**SETTINGS, quantiles=[0.1, 0.5, 0.9])
    with pytest.raises(ArgumentError, match="distill: cannot be combined with quantiles"):
        regressor.fit(X, NUMBERS)
