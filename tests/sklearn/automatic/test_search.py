"""The estimators that combine the best candidates: results, files, interruptions, failures."""

import json
import pickle
import signal

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import root_mean_squared_error

import gpunn.sklearn
from gpunn.errors import (
    ArgumentError,
    DataError,
    DivergenceError,
    GpunnWarning,
    MissingPackageError,
    UnknownCategoryWarning,
)
from gpunn.sklearn import TabularClassifier, TabularRegressor
from gpunn.sklearn.automatic import candidates, search, time_limit
from gpunn.sklearn.automatic.reference_models import constant
from gpunn.sklearn.automatic.search import TabularSearch
from gpunn.sklearn.folds import folds_of
from gpunn.tabular import greedy_selection

ROWS = 90
RANDOM = np.random.default_rng(0)
AGE = RANDOM.integers(18, 80, ROWS).astype(float)
CITY = RANDOM.choice(["Bern", "Oslo", "Rome"], ROWS)
X = {"age": np.where(RANDOM.random(ROWS) < 0.1, np.nan, AGE), "city": CITY}
RENT = 500.0 + 300 * (CITY == "Rome") + 5 * AGE
DEAR = np.where(RENT > 900, "dear", "cheap")
LABELS = np.column_stack([CITY == "Rome", AGE > 50]).astype(int)

SEED = int(np.random.RandomState(0).randint(2**31))
SMALL = {
    "TabM": {"members": 2, "hidden_layer_sizes": [8], "epochs": 3, "bins": 4, "patience": 3},
    "RealMLP": {"hidden_layer_sizes": [8], "epochs": 3, "batch_size": 32},
}
SETTINGS = {"n_cv": 2, "time_limit": 1e6, "random_state": 0}
ESTIMATORS = {
    "classes": (TabularClassifier(**SETTINGS, threshold_for="f1", class_weight="balanced"), DEAR),
    "labels": (TabularClassifier(**SETTINGS, metric="binary_accuracy"), LABELS),
    "numbers": (TabularRegressor(**SETTINGS), RENT),
    "logarithms": (TabularRegressor(**SETTINGS, target_transform="log"), RENT),
    "quantiles": (TabularRegressor(**SETTINGS, quantiles=(0.1, 0.5, 0.9)), RENT),
}
OPTIONS = {
    "classes": {"groups": np.arange(ROWS) // 2},
    "numbers": {"sample_weight": RANDOM.integers(3, size=ROWS)},
}


def small(trial, seed):
    return candidates.parameters_of(trial, seed) | SMALL[trial.family]


@pytest.fixture(scope="module", autouse=True)
def _two_small_candidates():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "parameters_of", small)
        patch.setattr(candidates, "MAX_CANDIDATES", 2)
        yield


@pytest.fixture(scope="module")
def fitted():
    return {
        name: clone(each).fit(X, y, **OPTIONS.get(name, {}))
        for name, (each, y) in ESTIMATORS.items()
    }


def predicted(estimator, rows=X):
    return estimator.predict_proba(rows) if is_classifier(estimator) else estimator.predict(rows)


def of_kind(estimator, kind):
    return [row for row in estimator.leaderboard_ if row["kind"] == kind]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_leaderboard(fitted, name):
    estimator = fitted[name]
    (ensemble,), rows = of_kind(estimator, "ensemble"), of_kind(estimator, "candidate")
    assert estimator.leaderboard_[0] is ensemble
    assert {row["name"] for row in rows} == {"TabM 1", "RealMLP 1"}
    assert [row["name"] for row in of_kind(estimator, "baseline")] == ["constant", "linear model"]
    assert all(not row["note"] for row in estimator.leaderboard_)
    sign = -1 if name == "labels" else 1
    scores = [sign * row["score"] for row in rows]
    assert scores == sorted(scores)
    assert sign * ensemble["score"] <= scores[0]
    assert ensemble["score"] == estimator.validation_score_ == estimator.cv_scores_.mean()
    assert sum(row["weight"] for row in rows) == pytest.approx(1)
    used = [row for row in rows if row["weight"]]
    assert len(estimator.estimators_) == 2 * len(used)
    assert len(estimator.best_epoch_) == len(estimator.n_iter_) == len(estimator.estimators_)
    assert ensemble["size"] == sum(row["size"] for row in used)
    assert list(estimator.leaderboard()["name"]) == [row["name"] for row in estimator.leaderboard_]


def test_held_out_predictions(fitted):
    estimator, weights = fitted["numbers"], OPTIONS["numbers"]["sample_weight"]
    held = estimator.oof_predictions_
    assert not np.isclose(held, predicted(estimator)).any()
    folds = folds_of(2, ROWS, SEED, None, weights, None)
    for fold, score in enumerate(estimator.cv_scores_):
        parts = (each[folds == fold] for each in (RENT, held, weights))
        y, predictions, sample_weight = parts
        error = root_mean_squared_error(y, predictions, sample_weight=sample_weight)
        assert score == pytest.approx(error)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_pickles_and_files(fitted, name, tmp_path):
    estimator, path = fitted[name], tmp_path / "a.safetensors"
    estimator.save(path)
    loaded = type(estimator).load(path, backend="numpy")
    for again in (loaded, pickle.loads(pickle.dumps(estimator))):
        np.testing.assert_array_equal(predicted(again), predicted(estimator))
        assert again.leaderboard_ == estimator.leaderboard_
        assert again.get_params()["n_cv"] == 2
    if name == "classes":
        assert loaded.threshold_ == estimator.threshold_ != 0.5


def test_intervals(fitted):
    for name in ("numbers", "logarithms", "quantiles"):
        _, low, high = fitted[name].predict(X, interval=0.8)
        assert 0.7 < np.mean((low <= RENT) & (high >= RENT)) <= 1, name
    quantiles = fitted["quantiles"].predict_quantiles(X)
    assert (np.diff(quantiles, axis=1) >= 0).all()


def test_without_a_time_limit():
    """There is one candidate of each family, and one split. One network may be in the ensemble."""
    estimator = TabularRegressor(random_state=0, n_cv=1, max_networks=1).fit(X, RENT)
    names = {row["name"] for row in of_kind(estimator, "candidate")}
    assert names == {"TabM 1", "RealMLP 1"}
    assert not hasattr(estimator, "cv_scores_")
    assert all(row["standard_error"] > 0 for row in estimator.leaderboard_)
    assert len(estimator.estimators_) == 1
    best = of_kind(estimator, "candidate")[0]
    assert (best["weight"], best["score"]) == (1, estimator.validation_score_)


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize(
    ("options", "rows", "folds"),
    [
        ({}, 90, 5),
        ({"groups": np.arange(ROWS) % 3}, 90, 3),
        ({"times": np.arange(ROWS)}, 90, 1),
        ({"X_val": X, "y_val": DEAR}, 90, 1),
        ({}, 89, 1),
        ({"sample_weight": np.arange(ROWS)}, 89, 5),
        ({"groups": np.arange(ROWS) // 15, "sample_weight": np.arange(ROWS) > 44}, 90, 3),
        ({"groups": np.maximum(np.arange(ROWS), 44)}, 90, 5),
        ({"groups": np.maximum(np.arange(ROWS), 45)}, 90, 1),
    ],
    ids=[
        *("rows", "groups", "times", "given", "many rows", "weights"),
        *("groups without weight", "half in a group", "most in a group"),
    ],
)
def test_automatic_folds(options, rows, folds, limit, monkeypatch):
    numbers = []
    name = "MAX_ROWS_WITHOUT_LIMIT" if limit is None else "MAX_ROWS_FOR_FOLDS"
    monkeypatch.setattr(search, name, rows)
    monkeypatch.setattr(TabularSearch, "_train", lambda _, each, seed: numbers.append(len(each)))
    TabularClassifier(time_limit=limit).fit(X, DEAR, **options)
    assert numbers == [folds]


def test_every_row_has_a_different_class():
    with pytest.raises(DataError, match="y: every row has a different class, so no rows can be"):
        TabularClassifier().fit({"city": CITY[:9]}, np.arange(9))


class Killed(BaseException):
    """A signal that kills the process."""


@pytest.fixture
def ended_by(monkeypatch):
    train, count = TabularSearch._train_candidate, []

    def end(error, number):
        def train_or_end(*arguments, **options):
            count.append(arguments)
            if len(count) == number:
                raise error
            return train(*arguments, **options)

        count.clear()
        monkeypatch.setattr(TabularSearch, "_train_candidate", train_or_end)
        return count

    return end


def test_resume_after_a_kill(fitted, tmp_path, ended_by):
    (estimator, y), expected = ESTIMATORS["classes"], fitted["classes"]
    estimator = clone(estimator).set_params(folder=tmp_path / "folder")
    ended_by(Killed(), 2)
    with pytest.raises(Killed):
        estimator.fit(X, y, **OPTIONS["classes"])
    count = ended_by(Killed(), 0)
    for _ in range(2):
        estimator.fit(X, y, **OPTIONS["classes"])
        assert len(count) == 1, "finished candidates are trained again"
    np.testing.assert_array_equal(predicted(estimator), predicted(expected))
    np.testing.assert_array_equal(estimator.oof_predictions_, expected.oof_predictions_)
    for row, other in zip(estimator.leaderboard_, expected.leaderboard_, strict=True):
        for key in ("name", "score", "weight", "size", "settings"):
            assert row[key] == other[key]
    with pytest.raises(ArgumentError, match=r"had other settings. settings.dtype was 'float32', "):
        estimator.set_params(dtype="float64").fit(X, y, **OPTIONS["classes"])
    changed = {**X, "age": AGE + 1}
    with pytest.raises(ArgumentError, match=r"schema.columns.0..missing was 10"):
        estimator.set_params(dtype="float32").fit(changed, y, **OPTIONS["classes"])


def test_a_folder_has_checksums_of_all_data(tmp_path):
    estimator = TabularRegressor(time_limit=1, folder=tmp_path, random_state=0)
    given = {"X": X, "y": RENT, "X_val": X, "y_val": RENT, "sample_weight_val": np.ones(ROWS)}
    estimator.fit(**given)
    one = np.arange(ROWS) == 7
    changed = X | {"age": np.where(one, 50.5, X["age"])}
    for change in ({"X": changed}, {"X_val": changed}, {"sample_weight_val": 1.0 + one}):
        with pytest.raises(ArgumentError, match="had other settings"):
            estimator.fit(**given | change)


FOR_FOLDERS = "estimator", "seed", "rows", "X", "y", "folds", "validation rows"


def test_a_folder_has_the_names_and_scales_of_all_data(tmp_path):
    X = {"size": np.arange(40) / 4, "city": ["Bern", "Rome"] * 20}
    y = np.array(["cheap", "dear"]).repeat(20)
    estimator = TabularClassifier(n_cv=1, folder=tmp_path, random_state=0, time_limit=0.1)
    estimator.fit(X, y)
    file = tmp_path / "candidates.json"
    contents = json.loads(file.read_text())
    added = "schema", "scaling", "classes"
    earlier = {name: x for name, x in contents["settings"].items() if name not in added}
    assert set(earlier) < {*estimator.get_params(), *FOR_FOLDERS} - {"random_state"}
    file.write_text(json.dumps(contents | {"settings": earlier}))
    estimator.fit(X, y)  # the folder of an earlier version
    file.write_text(json.dumps(contents))
    others = {"size": 2 * X["size"], "city": ["BERN", "ROME"] * 20}
    renamed = {"rooms": X["size"], "city": X["city"]}
    codes = [({**X, name: values}, y) for name, values in others.items()]
    for changed in (*codes, (renamed, y), (X, np.char.upper(y))):
        with pytest.raises(ArgumentError, match="had other settings"):
            estimator.fit(*changed)


def test_wrong_folders(tmp_path):
    estimator = TabularRegressor(folder=tmp_path, random_state=0)
    (tmp_path / "a.csv").touch()
    with pytest.raises(ArgumentError, match=r"folder: .* but no .*; choose a new folder"):
        estimator.fit(X, RENT)
    for state in (None, np.random.RandomState(0)):
        with pytest.raises(ArgumentError, match="folder: needs an integer as random_state"):
            estimator.set_params(random_state=state).fit(X, RENT)


def test_ctrl_c(ended_by):
    estimator = clone(ESTIMATORS["numbers"][0])
    ended_by(KeyboardInterrupt(), 1)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, RENT)
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    ended_by(KeyboardInterrupt(), 2)
    estimator.fit(X, RENT)
    assert [row["name"] for row in of_kind(estimator, "candidate")] == ["TabM 1"]
    assert estimator.stopped_ == "interrupted by Ctrl-C"
    ended_by(None, 0)

    def show(row):
        if row["name"] == "RealMLP 1":
            raise KeyboardInterrupt

    estimator._show = show
    assert len(of_kind(estimator.fit(X, RENT), "candidate")) == 2, "it was finished"
    assert estimator.stopped_ == "interrupted by Ctrl-C"


def test_ctrl_c_during_the_selection(monkeypatch):
    def selection(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return greedy_selection(*arguments, **options)

    monkeypatch.setattr(search, "greedy_selection", selection)
    estimator = TabularRegressor(random_state=0, n_cv=1, compare=["sklearn"]).fit(X, RENT)
    assert len(of_kind(estimator, "candidate")) == 2
    assert estimator.stopped_ == "interrupted by Ctrl-C"
    assert not of_kind(estimator, "library")


def test_ctrl_c_in_a_comparison(monkeypatch):
    """The rows of the libraries that have ended remain."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "LIBRARIES", {"sklearn": constant, "xgboost": interrupted})
    monkeypatch.setattr(search, "check_libraries", lambda *_: None)
    estimator = TabularRegressor(random_state=0, compare=["sklearn", "xgboost"]).fit(X, RENT)
    assert [row["name"] for row in of_kind(estimator, "library")] == ["sklearn"]
    assert estimator.stopped_ == ""


def test_libraries_get_numbers_of_float32(monkeypatch):
    """XGBoost refuses larger numbers, and CatBoost reads neighboring seconds as equal numbers."""
    largest, distinct = [], []

    def recorded(training, held, schema, *_):
        largest.extend(np.abs(part.X).max() for part in (training, held))
        seconds = training.X[:, schema.numbers.index("second")]
        distinct.append(len(np.unique(seconds.astype("float32"))))
        return constant(training, held, schema, *_)

    monkeypatch.setattr(search, "LIBRARIES", {"sklearn": recorded})
    table = {**X, "second": 1.6e9 + AGE, "huge": np.where(AGE > 40, 1e300, -1.0)}
    TabularRegressor(random_state=0, compare=["sklearn"]).fit(table, RENT)
    assert max(largest) == np.finfo(np.float32).max
    assert min(distinct) > 10


def test_candidates_have_no_buffers(monkeypatch):
    """All candidates are in memory, without activations."""
    combine, buffers = TabularSearch._combine, []

    def recorded(self, plan, candidates):
        buffers.extend(network._inference for each in candidates for network in each.networks)
        return combine(self, plan, candidates)

    monkeypatch.setattr(TabularSearch, "_combine", recorded)
    TabularRegressor(random_state=0, n_cv=1).fit(X, RENT)
    assert buffers == [None, None]


def test_the_time_limit_ends_every_network(monkeypatch):
    """The clock advances by one second whenever it is read."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(time_limit, "clock", lambda: float(next(seconds)))
    monkeypatch.setattr(candidates, "MAX_CANDIDATES", 9)
    monkeypatch.setitem(SMALL["TabM"], "epochs", 10**6)
    monkeypatch.setitem(SMALL["TabM"], "patience", 10**6)
    with gpunn.backends.thread_count.one_thread():
        estimator = TabularRegressor(time_limit=80, n_cv=2, random_state=0).fit(X, RENT)
    rows = {row["name"]: row for row in of_kind(estimator, "candidate")}
    assert rows["TabM 1"]["note"] == "ended by the time limit"
    assert 35 <= rows["TabM 1"]["seconds"] <= 50, "the first candidate has half of the time"
    assert "RealMLP 1" in rows
    assert "TabM 2" not in rows, "it would take longer than the time left"
    assert next(seconds) < 120


def test_a_longer_limit_trains_candidates_again_that_the_first_limit_cut(monkeypatch, tmp_path):
    seconds = iter(range(10**6))
    monkeypatch.setattr(time_limit, "clock", lambda: float(next(seconds)))
    monkeypatch.setitem(SMALL["TabM"], "epochs", 40)
    monkeypatch.setitem(SMALL["TabM"], "patience", 10**6)
    estimator = TabularRegressor(time_limit=80, n_cv=2, random_state=0, folder=tmp_path)
    epochs = []
    for limit in (80, 80, 1000, 1000):
        with gpunn.backends.thread_count.one_thread():
            estimator.set_params(time_limit=limit).fit(X, RENT)
        contents = json.loads((tmp_path / "candidates.json").read_text())
        outcomes = {f"{each['family']} {each['number']}": each for each in contents["outcomes"]}
        assert sorted(outcomes) == ["RealMLP 0", "TabM 0"]
        epochs.append(outcomes["TabM 0"]["epochs"])
    assert max(epochs[0]) < 40
    assert epochs == [epochs[0], epochs[0], [40, 40], [40, 40]]
    (row,) = [row for row in of_kind(estimator, "candidate") if row["name"] == "TabM 1"]
    assert row["note"] == ""
    assert row["seconds"] > 80, "the time includes the first training"


def test_a_time_that_is_too_short():
    estimator = TabularRegressor(time_limit=1e-9, n_cv=2, random_state=0).fit(X, RENT)
    assert estimator.n_iter_ == [1, 1]


def test_failed_candidates(monkeypatch):
    monkeypatch.setitem(SMALL["TabM"], "learning_rate_init", 1e30)
    monkeypatch.setitem(SMALL["TabM"], "max_norm", None)
    estimator = clone(ESTIMATORS["numbers"][0]).fit(X, RENT)
    rows = of_kind(estimator, "candidate")
    assert [row["name"] for row in rows] == ["RealMLP 1", "TabM 1"]
    assert rows[1]["score"] is None
    assert "not a finite number" in rows[1]["note"]
    monkeypatch.setattr(candidates, "MAX_CANDIDATES", 1)
    with pytest.raises(DivergenceError, match=r"candidate has failed\. Error of TabM 1: "):
        estimator.fit(X, RENT)


def test_warnings_are_given_once():
    rows = X | {"same": ["x"] * ROWS}
    with pytest.warns(GpunnWarning) as record:
        TabularRegressor(random_state=0, metric="r2").fit(rows, RENT)
    found = [str(each.message) for each in record]
    assert found[0].endswith("column 'same': dropped: the same in every row")
    assert found[1].startswith("the baseline 'linear model' predicts the held-out rows better than")
    assert [each.filename for each in record] == [__file__] * 2


def test_no_warnings_about_categories_of_held_out_rows():
    """Each category has two rows; by chance, both are held out."""
    rows = X | {"pair": [f"{row // 2}" for row in range(ROWS)]}
    options = {"columns": {"pair": "category"}, "n_cv": 1, "distill": [4]}
    estimator = TabularRegressor(random_state=0, **options)
    assert estimator.fit(rows, RENT).leaderboard_[0]["kind"] == "distilled"
    with pytest.warns(UnknownCategoryWarning):
        estimator.predict(rows)


def test_progress(capsys):
    TabularRegressor(random_state=0, progress=True, compare=["sklearn"]).fit(X, RENT)
    lines = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    expected = ["constant", "linear model", "TabM 1", "RealMLP 1", "sklearn"]
    assert [line for line in lines if line in expected] == expected


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"compare": ["lightgmb"]}, ArgumentError, "compare: unknown 'lightgmb'; .*'lightgbm'"),
        ({"compare": ["catboost"]}, MissingPackageError, "compare: 'catboost' needs the package"),
        ({"metric": "accuracy"}, ArgumentError, "metric: 'accuracy' evaluates"),
    ],
)
def test_wrong_parameters(options, error, problem, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "catboost", None)
    with pytest.raises(error, match=problem):
        TabularRegressor(**options).fit(X, RENT)
