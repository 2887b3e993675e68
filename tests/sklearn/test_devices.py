"""Estimators on every backend: the same training, fitted host arrays, portable pickles."""

import copy
import functools
import itertools
import os
import pickle
import textwrap

import array_api_compat
import array_api_strict
import numpy as np
import pytest
from processes import run_python
from scipy.sparse import csr_array
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from gpunn import optimizers, schedules, sklearn
from gpunn.errors import BackendUnavailableError, DataFileError

X, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X).astype("f4")
LABELS = make_multilabel_classification(150, 4, n_classes=3, random_state=0)
COUNTS = np.random.default_rng(0).poisson(np.exp(X[:, :2]))
FAST = {"hidden_layer_sizes": (6,), "max_iter": 4, "learning_rate_init": 0.01, "random_state": 0}
WEIGHTS = np.linspace(0, 1, 150)

CASES = {
    "classes": (sklearn.MLPClassifier, y, {}),
    "two classes": (sklearn.MLPClassifier, y % 2, {"solver": "sgd", "learning_rate": "invscaling"}),
    "labels": (sklearn.MLPClassifier, LABELS[1], {"alpha": 0.1}),
    "numbers": (sklearn.MLPRegressor, X[:, 0], {"activation": "tanh"}),
    "outputs": (sklearn.MLPRegressor, X[:, :2], {"early_stopping": True}),
    "counts": (sklearn.MLPRegressor, COUNTS, {"loss": "poisson"}),
    "lbfgs": (sklearn.MLPClassifier, y, {"solver": "lbfgs", "dtype": "float32"}),
    "more": (
        sklearn.MLPClassifier,
        y,
        {
            "batch_norm": True,
            "dropout": 0.2,
            "activation": "gelu",
            "max_norm": 1.0,
            "optimizer": optimizers.AdamW(schedules.Cosine(0.02)),
            "class_weight": "balanced",
        },
    ),
}

RANDOM = np.random.default_rng(0)
TABLE = {
    "size": np.where(RANDOM.random(60) < 0.2, np.nan, RANDOM.normal(size=60)),
    "color": RANDOM.choice(["red", "green"], 60).tolist(),
    "town": [f"town {number % 10}" for number in range(60)],
}
NUMBER = np.nan_to_num(TABLE["size"]) + (np.array(TABLE["color"]) == "red")
CLASS = np.digitize(NUMBER, [0.0, 1.0])
FOR_TABLES = {"epochs": 3, "hidden_layer_sizes": (6,), "batch_size": 16, "random_state": 0}
TABM = {**FOR_TABLES, "members": 2, "bins": 4}

CASES_OF_TABLES = {
    "realmlp classes": (sklearn.RealMLPClassifier, CLASS, FOR_TABLES),
    "realmlp numbers": (sklearn.RealMLPRegressor, NUMBER, FOR_TABLES),
    "realmlp simplified": (sklearn.RealMLPClassifier, CLASS, {**FOR_TABLES, "simplified": True}),
    "tabm mini": (sklearn.TabMClassifier, CLASS, TABM),
    "tabm full": (sklearn.TabMRegressor, NUMBER, {**TABM, "kind": "full"}),
    "tabm packed": (sklearn.TabMRegressor, NUMBER, {**TABM, "kind": "packed"}),
    "folds": (sklearn.TabMClassifier, CLASS, {**TABM, "n_cv": 2, "n_ens": 2}),
}
CASES_OF_THE_DEFAULT_RUN = ("realmlp classes", "tabm full")


@functools.cache
def on_numpy(case, weighted=False):
    if case in CASES:
        kind, targets, options = CASES[case]
        weights = WEIGHTS if weighted else None
        return kind(backend="numpy", **{**FAST, **options}).fit(X, targets, weights)
    kind, targets, options = CASES_OF_TABLES[case]
    return kind(backend="numpy", **options).fit(TABLE, targets)


@pytest.mark.parametrize(("case", "weighted"), list(zip(CASES, itertools.cycle([False, True]))))
def test_training_is_the_same_on_every_backend(backend, case, weighted):
    kind, targets, options = CASES[case]
    weights = WEIGHTS if weighted else None
    here = kind(backend=backend, **{**FAST, **options}).fit(X, targets, weights)
    there = on_numpy(case, weighted)
    assert here.backend_ == backend.name
    for name in ("coefs_", "intercepts_"):
        for got, expected in zip(getattr(here, name), getattr(there, name), strict=True):
            assert type(got) is np.ndarray
            np.testing.assert_allclose(got, expected, 1e-2, 1e-3)
    assert here.loss_ == pytest.approx(there.loss_, rel=1e-3)
    assert type(here.predict(X)) is np.ndarray
    assert b"cupy._core" not in pickle.dumps(here)
    if kind is sklearn.MLPClassifier:
        np.testing.assert_allclose(here.predict_proba(X), there.predict_proba(X), 1e-2, 1e-3)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case in CASES_OF_THE_DEFAULT_RUN else pytest.mark.full)
        for case in CASES_OF_TABLES
    ],
)
def test_training_on_tables_is_the_same_on_every_backend(backend, case):
    kind, targets, options = CASES_OF_TABLES[case]
    here, there = kind(backend=backend, **options).fit(TABLE, targets), on_numpy(case)
    assert here.network_.backend.name == here.backend_ == backend.name
    assert here.device_ == backend.describe()["device"]
    assert here.validation_score_ == pytest.approx(there.validation_score_, rel=1e-3, abs=0.1)
    values, expected = (each.network_.parameters.to_host() for each in (here, there))
    if here.best_epoch_ == there.best_epoch_:
        for name, value in values.items():
            np.testing.assert_allclose(value, expected[name], 1e-2, 1e-3, err_msg=name)
    assert type(here.predict(TABLE)) is np.ndarray
    outputs = here.network_.predict(TABLE)
    np.testing.assert_allclose(outputs, here.network_.to("numpy").predict(TABLE), 1e-4, 1e-4)


def test_warm_starts_and_partial_fits_continue(backend):
    here, there = (
        sklearn.MLPClassifier(backend=each, warm_start=True, **FAST) for each in (backend, "numpy")
    )
    for estimator in (here, there):
        estimator.fit(X, y).fit(X, y).partial_fit(X, y)
    np.testing.assert_allclose(here.loss_curve_, there.loss_curve_, 1e-3)


@pytest.fixture
def dispatching(monkeypatch):
    """Simulate scikit-learn's option `array_api_dispatch`, which would need support in SciPy."""
    monkeypatch.setattr(sklearn.inputs, "get_config", lambda: {"array_api_dispatch": True})


def test_arrays_come_back_in_the_library_and_on_the_device_they_came_from(
    backend, dispatching, monkeypatch
):
    xp = backend.xp
    given = xp.asarray(X, device=backend.device)
    classifier = sklearn.MLPClassifier(**FAST)
    classifier.fit(given, xp.asarray(y, device=backend.device))
    for method in ("predict", "predict_proba", "predict_log_proba"):
        result = getattr(classifier, method)(given)
        assert array_api_compat.device(result) == array_api_compat.device(given)
        assert type(result) is type(given)
        with monkeypatch.context() as plain:
            plain.setattr(sklearn.inputs, "get_config", lambda: {"array_api_dispatch": False})
            expected = getattr(classifier, method)(X)
        np.testing.assert_array_equal(backend.to_host(result), expected)
    weights = xp.asarray(WEIGHTS.astype("f4"), device=backend.device)
    regressor = sklearn.MLPRegressor(**FAST).fit(given, given[:, :2], weights)
    assert type(regressor.predict(given)) is type(given)
    fitted = [*classifier.coefs_, *regressor.coefs_, classifier.classes_]
    assert {type(array) for array in fitted} == {np.ndarray}


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_arrays_of_another_library_than_fits_are_refused(dispatching, method):
    foreign = array_api_strict.asarray(X)
    classifier = sklearn.MLPClassifier(**FAST).fit(foreign, array_api_strict.asarray(y))
    expected = rf"MLPClassifier\.{method}\(\) must use the same namespace .* got numpy on 'cpu'"
    for given in (X, X.tolist(), csr_array(X)):
        with pytest.raises(ValueError, match=expected):
            getattr(classifier, method)(given)
    opened = pickle.loads(pickle.dumps(classifier))
    with pytest.raises(ValueError, match="expected arrays of array_api_strict on"):
        getattr(opened, method)(X)
    classifier.fit(X, y)
    with pytest.raises(ValueError, match="got array_api_strict on"):
        getattr(classifier, method)(foreign)


def test_without_dispatch_host_arrays_are_predicted_from(dispatching, monkeypatch):
    classifier = sklearn.MLPClassifier(**FAST).fit(array_api_strict.asarray(X), y)
    monkeypatch.undo()
    assert type(classifier.predict(X)) is np.ndarray


def test_names_of_classes_stay_on_the_host(backend, dispatching):
    given = backend.xp.asarray(X, device=backend.device)
    classifier = sklearn.MLPClassifier(**FAST).fit(given, np.array(["a", "b", "c"])[y])
    assert set(classifier.predict(given)) <= {"a", "b", "c"}


OPEN = """
    import pickle, sys
    sys.modules["cupy"] = None
    import numpy as np
    from gpunn.errors import BackendUnavailableError

    for estimator, X, expected in pickle.load(open(sys.argv[1], "rb")):
        try:
            estimator.predict(X)
        except BackendUnavailableError as error:
            print("CuPy" in str(error))
        estimator.set_params(backend="numpy")
        actual = getattr(estimator, "predict_proba", estimator.predict)(X)
        print(np.allclose(actual, expected, atol=1e-4))
        if hasattr(estimator, "partial_fit"):
            print(estimator.partial_fit(X, estimator.predict(X)).n_iter_ == 1)
    """


@pytest.mark.full
@pytest.mark.tier(5)
def test_pickles_made_on_a_device_open_without_one(tmp_path):
    numbers = sklearn.MLPClassifier(backend="cupy", **FAST).fit(X, y)
    table = sklearn.RealMLPRegressor(backend="cupy", **FOR_TABLES).fit(TABLE, NUMBER)
    assert numbers.backend_.startswith("cupy")
    assert table.backend_.startswith("cupy")
    content = [(numbers, X, numbers.predict_proba(X)), (table, TABLE, table.predict(TABLE))]
    file = tmp_path / "estimators.pickle"
    file.write_bytes(pickle.dumps(content))
    environment = {k: v for k, v in os.environ.items() if k != "GPUNN_TEST_DEVICE"}
    opened = run_python("-c", textwrap.dedent(OPEN), file, env=environment)
    assert opened.stdout.split() == ["True"] * 5, opened.stderr


@pytest.mark.parametrize(
    ("estimator", "rows", "targets"),
    [(sklearn.MLPClassifier(**FAST), X, y), (sklearn.TabMRegressor(**TABM), TABLE, NUMBER)],
    ids=["numbers", "table"],
)
def test_a_missing_device_is_an_error(estimator, rows, targets):
    fitted = estimator.fit(rows, targets)
    opened = pickle.loads(pickle.dumps(fitted)).set_params(backend="cupy:99")
    for use in (opened.predict, lambda rows: copy.deepcopy(opened).fit(rows, targets)):
        with pytest.raises(BackendUnavailableError):
            use(rows)
    again = opened.set_params(backend=None)
    np.testing.assert_array_equal(again.predict(rows), fitted.predict(rows))


def test_maps_whose_file_became_shorter_are_not_touched(tmp_path):
    """Without this, the system would end the process."""
    shape = (len(X), 2000)
    mapped = [np.memmap(tmp_path / name, "f4", "w+", shape=shape) for name in ("one", "other")]
    model = sklearn.MLPRegressor(**FAST | {"max_iter": 1}, backend="numpy")
    with pytest.warns(ConvergenceWarning):
        model.fit(mapped[0], y)
    for each in mapped:
        os.truncate(each.filename, 5000)
    with pytest.raises(DataFileError, match="the file was truncated after it was memory-mapped"):
        model.predict(mapped[0])
    with pytest.raises(DataFileError, match="the file was truncated after it was memory-mapped"):
        model.fit(mapped[1], y)
