"""What scikit-learn's users do with estimators for tables, on frames with text and gaps."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingRegressor, VotingClassifier
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import gpunn
from gpunn.sklearn import RealMLPClassifier, RealMLPRegressor, TabMClassifier, TabMRegressor

ROWS = 120
RANDOM = np.random.default_rng(0)
X = pd.DataFrame(
    {
        "size": RANDOM.normal(size=ROWS),
        "noise": np.where(RANDOM.random(ROWS) < 0.2, np.nan, RANDOM.normal(size=ROWS)),
        "colour": RANDOM.choice(["red", "green", None], ROWS),
    }
)
CLASS = np.where((X["size"] > 0) & (X["colour"] != "red"), "yes", "no")
NUMBER = X["size"] + 2 * (X["colour"] == "red")
FAST = {"epochs": 12, "hidden_layer_sizes": (16,), "batch_size": 16, "random_state": 0}
TABM = {**FAST, "members": 2, "learning_rate_init": 0.02, "bins": 8}


@pytest.fixture(autouse=True)
def _rows_of_a_fold_may_lack_what_others_have():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gpunn.errors.GpunnWarning)
        yield


def test_search_in_a_pipeline():
    without_noise = FunctionTransformer(lambda frame: frame.drop(columns="noise"))
    pipeline = make_pipeline(without_noise, RealMLPClassifier(**FAST))
    grid = {"realmlpclassifier__learning_rate_init": [1e-6, "auto"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, CLASS)
    assert search.best_params_ == {"realmlpclassifier__learning_rate_init": "auto"}
    assert search.score(X, CLASS) > 0.8


def test_cross_validation_with_weights():
    weights = {"sample_weight": np.ones(ROWS)}
    scores = cross_val_score(TabMRegressor(**TABM), X, NUMBER, params=weights, cv=2)
    assert scores.min() > 0.3


def test_calibration():
    calibrated = CalibratedClassifierCV(TabMClassifier(**TABM), cv=2).fit(X, CLASS)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    assert calibrated.score(X, CLASS) > 0.8


def test_ensembles():
    members = [("realmlp", RealMLPClassifier(**FAST)), ("tabm", TabMClassifier(**TABM))]
    assert VotingClassifier(members, voting="soft").fit(X, CLASS).score(X, CLASS) > 0.8
    numbers = X[["size", "noise"]]
    bag = BaggingRegressor(RealMLPRegressor(**FAST), n_estimators=2, random_state=0)
    assert bag.fit(numbers, NUMBER).predict(numbers).shape == (ROWS,)


@pytest.mark.parametrize("regressor", [RealMLPRegressor(**FAST), TabMRegressor(**TABM)])
def test_inspection(regressor):
    fitted = clone(regressor).fit(X, NUMBER)
    found = permutation_importance(fitted, X, NUMBER, n_repeats=2, random_state=0)
    size, noise, colour = found.importances_mean
    assert min(size, colour) > noise
    coloured = X[X["colour"].notna()]  # partial_dependence itself takes no gaps beside text
    by_colour = partial_dependence(fitted, coloured, ["colour"], categorical_features=["colour"])
    effects = dict(zip(by_colour["grid_values"][0], by_colour["average"][0], strict=True))
    assert effects["red"] > effects["green"] + 1
    by_size = partial_dependence(fitted, X, ["size"], grid_resolution=5)["average"][0]
    assert by_size[-1] > by_size[0]


def test_metadata_routing():
    with config_context(enable_metadata_routing=True):
        classifier = RealMLPClassifier(**FAST).set_fit_request(sample_weight=True)
        requests = classifier.get_metadata_routing().fit.requests
    validation = {"X_val", "y_val", "sample_weight_val"}
    assert set(requests) == {"sample_weight", *validation, "groups", "times"}


@pytest.mark.parametrize(
    "kind", [RealMLPClassifier, RealMLPRegressor, TabMClassifier, TabMRegressor]
)
def test_clones_and_representations(kind):
    estimator = kind(backend="numpy", dropout=0.3, columns={"size": "number"})
    copied = clone(estimator)
    assert copied.get_params() == estimator.get_params()
    assert "dropout=0.3" in repr(copied)
    assert kind.__name__ in copied._repr_html_()


def test_copies_and_backends_as_objects():
    backend = gpunn.get_backend("numpy", threads=1)
    fitted = RealMLPRegressor(**FAST, backend=backend).fit(X, NUMBER)
    assert fitted.network_.backend is backend
    copied = copy.deepcopy(fitted)
    np.testing.assert_array_equal(copied.predict(X), fitted.predict(X))
    assert copied.network_.backend.threads == 1


def test_callbacks_are_called():
    names = set()

    class Notes(gpunn.callbacks.Callback):
        def on_epoch_end(self, trainer, logs):
            names.update(logs)

    RealMLPRegressor(**{**FAST, "epochs": 1}, callbacks=[Notes()]).fit(X, NUMBER)
    assert "val_root_mean_squared_error" in names
