"""Typical uses of scikit-learn estimators: pipelines, searches, copies, inspection."""

import copy
import dataclasses
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris, make_regression
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import gpunn
from gpunn.sklearn import (
    MLPClassifier,
    MLPRegressor,
    RealMLPClassifier,
    RealMLPRegressor,
    TabMClassifier,
    TabMRegressor,
)
from gpunn.training.interruption import Interruption

X, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
ROWS = 120
RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "size": RANDOM.normal(size=ROWS),
        "noise": np.where(RANDOM.random(ROWS) < 0.2, np.nan, RANDOM.normal(size=ROWS)),
        "color": RANDOM.choice(["red", "green", None], ROWS),
    }
)
CLASS = np.where((TABLE["size"] > 0) & (TABLE["color"] != "red"), "yes", "no")
NUMBER = TABLE["size"] + 2 * (TABLE["color"] == "red")
FOR_TABLES = {"epochs": 12, "hidden_layer_sizes": (16,), "batch_size": 16, "random_state": 0}
OF_TABLES = (RealMLPClassifier, RealMLPRegressor, TabMClassifier, TabMRegressor)
TABM = {**FOR_TABLES, "members": 2, "learning_rate_init": 0.02, "bins": 8}
FAST = {"hidden_layer_sizes": (8,), "max_iter": 60, "learning_rate_init": 0.02, "random_state": 0}


@pytest.fixture(autouse=True)
def _rows_of_a_fold_may_lack_what_others_have():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gpunn.errors.GpunnWarning)
        yield


def test_grid_search_in_a_pipeline():
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", MLPClassifier(**FAST))])
    grid = {
        "mlp__alpha": [1e-4, 1e3],
        "mlp__activation": ["relu", "gelu"],
        "mlp__optimizer": [None, {"name": "lion", "learning_rate": 0.003}],
    }
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["mlp__alpha"] == 1e-4
    assert search.score(X, y) > 0.9
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_search_on_a_table_in_a_pipeline():
    without_noise = FunctionTransformer(lambda frame: frame.drop(columns="noise"))
    pipeline = make_pipeline(without_noise, RealMLPClassifier(**FOR_TABLES))
    grid = {"realmlpclassifier__learning_rate_init": [1e-6, "auto"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(TABLE, CLASS)
    assert search.best_params_ == {"realmlpclassifier__learning_rate_init": "auto"}
    assert search.score(TABLE, CLASS) > 0.8


def test_calibration():
    calibrated = CalibratedClassifierCV(TabMClassifier(**TABM), cv=2).fit(TABLE, CLASS)
    np.testing.assert_allclose(calibrated.predict_proba(TABLE).sum(axis=1), 1)
    assert calibrated.score(TABLE, CLASS) > 0.8


def test_ensembles():
    bag = BaggingClassifier(MLPClassifier(**FAST), n_estimators=3, random_state=0)
    assert bag.fit(X, y).score(X, y) > 0.9
    assert len({est.coefs_[0][0, 0] for est in bag.estimators_}) == 3
    members = [("mlp", MLPClassifier(**FAST)), ("linear", LogisticRegression())]
    for ensemble in (VotingClassifier(members, voting="soft"), StackingClassifier(members, cv=2)):
        assert ensemble.fit(X, y).score(X, y) > 0.9


def test_ensembles_on_tables():
    members = [("realmlp", RealMLPClassifier(**FOR_TABLES)), ("tabm", TabMClassifier(**TABM))]
    assert VotingClassifier(members, voting="soft").fit(TABLE, CLASS).score(TABLE, CLASS) > 0.8
    numbers = TABLE[["size", "noise"]]
    bag = BaggingRegressor(RealMLPRegressor(**FOR_TABLES), n_estimators=2, random_state=0)
    assert bag.fit(numbers, NUMBER).predict(numbers).shape == (ROWS,)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, *OF_TABLES])
def test_is_more_than_its_parameters(kind):
    # dask and others treat two dataclass objects with equal fields as the same, and would mix up
    # estimators.
    assert not dataclasses.is_dataclass(kind())


@pytest.mark.parametrize("regressor", [RealMLPRegressor(**FOR_TABLES), TabMRegressor(**TABM)])
def test_inspection(regressor):
    fitted = clone(regressor).fit(TABLE, NUMBER)
    importances = permutation_importance(fitted, TABLE, NUMBER, n_repeats=2, random_state=0)
    size, noise, color = importances.importances_mean
    assert min(size, color) > noise
    colored = TABLE[TABLE["color"].notna()]  # partial_dependence itself takes no gaps beside text
    by_color = partial_dependence(fitted, colored, ["color"], categorical_features=["color"])
    effects = dict(zip(by_color["grid_values"][0], by_color["average"][0], strict=True))
    assert effects["red"] > effects["green"] + 1
    by_size = partial_dependence(fitted, TABLE, ["size"], grid_resolution=5)["average"][0]
    assert by_size[-1] > by_size[0]


def test_targets_of_regressors():
    inputs, targets = make_regression(120, 4, n_targets=2, random_state=0)
    options = {"solver": "lbfgs", "hidden_layer_sizes": (8,), "max_iter": 60, "random_state": 0}
    scaled = TransformedTargetRegressor(MLPRegressor(**options), transformer=StandardScaler())
    assert scaled.fit(inputs, targets).score(inputs, targets) > 0.95
    each = MultiOutputRegressor(MLPRegressor(**options)).fit(inputs, targets)
    assert each.predict(inputs).shape == (120, 2)


def test_cross_validation_gives_sample_weights():
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**FAST))
    weights = np.ones(len(X))
    scores = cross_val_score(pipeline, X, y, params={"mlpclassifier__sample_weight": weights}, cv=2)
    assert scores.min() > 0.8
    weights = {"sample_weight": np.ones(ROWS)}
    scores = cross_val_score(TabMRegressor(**TABM), TABLE, NUMBER, params=weights, cv=2)
    assert scores.min() > 0.3


def test_metadata_routing():
    weights = (y != 2).astype(float)
    with config_context(enable_metadata_routing=True):
        classifier = MLPClassifier(**FAST).set_fit_request(sample_weight=True)
        classifier.set_score_request(sample_weight=False)
        search = GridSearchCV(classifier, {"alpha": [1e-4]}, cv=2, error_score="raise")
        search.fit(X, y, sample_weight=weights)
        of_table = RealMLPClassifier(**FOR_TABLES).set_fit_request(sample_weight=True)
        requests, requests_of_table = (
            each.get_metadata_routing().fit.requests for each in (classifier, of_table)
        )
    validation = {"X_val", "y_val", "sample_weight_val"}
    assert set(requests) == {"sample_weight", *validation, "groups", "times"}
    assert requests_of_table == requests
    assert requests["groups"]  # as a splitter such as GroupKFold does
    assert set(search.predict(X)) == {0, 1}  # the rows of class 2 did not count


def test_backends_as_objects_go_with_clones_and_pickles():
    """For example with one thread, if a search runs several fits in parallel."""
    backend = gpunn.get_backend("numpy", threads=1)
    classifier = MLPClassifier(backend=backend, **FAST).fit(X, y)
    assert clone(classifier).backend is backend
    opened = pickle.loads(pickle.dumps(classifier))
    assert opened.backend.threads == 1
    np.testing.assert_array_equal(opened.predict(X), classifier.predict(X))


def test_backends_as_objects_go_with_copies_of_estimators_of_tables():
    backend = gpunn.get_backend("numpy", threads=1)
    fitted = RealMLPRegressor(**FOR_TABLES, backend=backend).fit(TABLE, NUMBER)
    assert fitted.network_.backend is backend
    copied = copy.deepcopy(fitted)
    np.testing.assert_array_equal(copied.predict(TABLE), fitted.predict(TABLE))
    assert copied.network_.backend.threads == 1


def test_feature_names():
    frame = pd.DataFrame(X, columns=list("abcd"))
    classifier = MLPClassifier(**FAST).fit(frame, pd.Series(y))
    assert list(classifier.feature_names_in_) == list("abcd")
    assert classifier.score(frame, y) > 0.9
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame.rename(columns={"a": "z"}))


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_copies_are_equal_and_independent(copied):
    classifier = MLPClassifier(**FAST).fit(X, y)
    other = copied(classifier)
    np.testing.assert_array_equal(other.predict_proba(X), classifier.predict_proba(X))
    for _ in range(3):
        classifier.partial_fit(X, y)
        other.partial_fit(X, y)
    assert other.loss_curve_ == classifier.loss_curve_
    other.coefs_[0][:] = 0
    assert not np.array_equal(other.predict_proba(X), classifier.predict_proba(X))


def test_pickles_hold_host_arrays_and_no_network():
    data = pickle.dumps(MLPClassifier(**FAST).fit(X, y))
    assert b"Sequential" not in data
    assert b"Workspace" not in data


def test_predictions_use_coefs():
    regressor = MLPRegressor(**FAST).fit(X, X[:, 0])
    before = regressor.predict(X)
    regressor.coefs_[-1] *= 2
    regressor.intercepts_[-1] *= 2
    doubled = regressor.predict(X)
    np.testing.assert_allclose(doubled, 2 * before)
    copied = MLPRegressor()
    for name in ("coefs_", "intercepts_", "out_activation_"):
        setattr(copied, name, getattr(regressor, name))
    np.testing.assert_array_equal(copied.predict(X), doubled)


def interrupt(monkeypatch, after):
    class Asked(Interruption):
        times = 0

        @property
        def requested(self):
            Asked.times += 1
            return Asked.times > after

        @requested.setter
        def requested(self, value):
            pass

    monkeypatch.setattr("gpunn.training.session.Interruption", Asked)
    # One check before each request.
    monkeypatch.setattr("gpunn.training.epoch_blocks.MAX_EPOCHS", 0)


def test_an_interrupted_fit_keeps_its_epochs(monkeypatch):
    interrupt(monkeypatch, after=5)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        classifier = MLPClassifier(**FAST).fit(X, y)
    assert 0 < classifier.n_iter_ < 60
    assert len(classifier.loss_curve_) == classifier.n_iter_
    classifier.predict(X)


def test_a_partial_fit_does_not_end_the_epoch_of_an_interrupted_one(monkeypatch):
    classifier = MLPClassifier(**FAST, batch_size=30)
    with monkeypatch.context() as patched:
        interrupt(patched, after=3)
        with pytest.warns(UserWarning, match="Training interrupted by user"):
            classifier.partial_fit(X, y, classes=[0, 1, 2])
    trainer = classifier._engine.trainer
    before = trainer.updates
    assert 0 < before < 5
    classifier.partial_fit(X, y)
    assert trainer.updates == before + 5
    assert len(classifier.loss_curve_) == 1
