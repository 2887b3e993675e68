"""Tabular estimators: raw rows with text, dates and missing values."""

import os
import pickle
import signal

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss, roc_auc_score

import gpunn
from gpunn.errors import DataError, GpunnWarning, ModelFileError, UnknownCategoryWarning
from gpunn.sklearn import RealMLPClassifier, RealMLPRegressor, TabMClassifier, TabMRegressor
from gpunn.sklearn.parameters import InvalidParameterError

ROWS = 120
RANDOM = np.random.default_rng(0)
AGE = RANDOM.integers(18, 80, ROWS).astype(float)
X = pd.DataFrame(
    {
        "age": np.where(RANDOM.random(ROWS) < 0.1, np.nan, AGE),
        "city": RANDOM.choice(["Bern", "Oslo", "Rome"], ROWS),
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(RANDOM.integers(0, 900, ROWS), "D"),
        "member": RANDOM.choice([True, False], ROWS),
    }
)
X.loc[3, "city"] = None
RENT = 500.0 + 300 * (X["city"] == "Rome") + 5 * AGE
CLASS = np.where(X["city"] == "Rome", "dear", np.where(X["member"], "fair", "cheap"))

FAST = {"hidden_layer_sizes": (32,), "batch_size": 16, "random_state": 0}
REALMLP = {"epochs": 24, **FAST}
TABM = {"epochs": 24, "learning_rate_init": 0.01, "members": 3, "bins": 8, **FAST}
BRIEF, BRIEF_TABM = {**REALMLP, "epochs": 1}, {**TABM, "epochs": 1}
CLASSIFIERS = [RealMLPClassifier(**REALMLP), TabMClassifier(**TABM)]
REGRESSORS = [RealMLPRegressor(**REALMLP), TabMRegressor(**TABM)]


def named(estimator):
    return type(estimator).__name__


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=named)
def test_classes_of_a_raw_frame(estimator):
    fitted = clone(estimator).fit(X, CLASS)
    assert fitted.score(X, CLASS) > 0.85
    probabilities = fitted.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert list(fitted.classes_) == ["cheap", "dear", "fair"]
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[probabilities.argmax(axis=1)])
    assert list(fitted.feature_names_in_) == list(X)
    kinds = [column.kind for column in fitted.schema_.columns]
    assert kinds == ["number", "category", "datetime", "boolean"]
    assert fitted.history_.rows[fitted.best_epoch_ - 1]["val_log_loss"] == fitted.validation_score_


@pytest.mark.parametrize("estimator", REGRESSORS, ids=named)
def test_numbers_of_a_raw_frame(estimator):
    fitted = clone(estimator).fit(X, RENT)
    assert fitted.score(X, RENT) > 0.8
    assert fitted.metric_ == "root_mean_squared_error"
    errors = [row["val_root_mean_squared_error"] for row in fitted.history_.rows]
    assert fitted.validation_score_ == min(errors)


def test_logarithms_of_targets(tmp_path):
    regressor = TabMRegressor(**{**TABM, "epochs": 8}, target_transform="log")
    fitted = regressor.fit(X, RENT)
    assert fitted.score(X, RENT) > 0.5
    assert fitted.validation_score_ == min(row["val_loss"] for row in fitted.history_.rows)
    fitted.save(tmp_path / "a")
    predicted = gpunn.load_model(tmp_path / "a", "numpy").predict(X)
    np.testing.assert_array_equal(fitted.predict(X), predicted[:, 0])
    with pytest.raises(DataError, match="y_val: logarithms need positive targets"):
        clone(regressor).fit(X, RENT, X_val=X, y_val=-RENT)


def test_frames_of_other_libraries():
    regressor = RealMLPRegressor(**{**REALMLP, "epochs": 2})
    expected = clone(regressor).fit(X, RENT).predict(X)
    columns = {name: X[name].astype(object).where(X[name].notna(), None).tolist() for name in X}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for frame in (columns, records, X.to_numpy(dtype=object), X.to_numpy(dtype=object).tolist()):
        actual = clone(regressor).fit(frame, RENT).predict(frame)
        np.testing.assert_array_equal(actual, expected, type(frame).__name__)


def test_given_validation_rows():
    regressor = TabMRegressor(**{**TABM, "epochs": 3})
    fitted = clone(regressor).fit(X[:80], RENT[:80], X_val=X[80:], y_val=RENT[80:])
    error = fitted.predict(X[80:]) - RENT[80:]
    assert np.sqrt(np.mean(error**2)) == pytest.approx(fitted.validation_score_, rel=1e-5)
    weights = np.r_[np.ones(20), np.zeros(20)]
    weighted = clone(regressor).fit(
        X[:80], RENT[:80], X_val=X[80:], y_val=RENT[80:], sample_weight_val=weights
    )
    error = weighted.predict(X[80:100]) - RENT[80:100]
    assert np.sqrt(np.mean(error**2)) == pytest.approx(weighted.validation_score_, rel=1e-5)


@pytest.mark.parametrize("given", [{"sample_weight": np.where(CLASS == "fair", 0.0, 1.0)}, {}])
def test_weights(given):
    classifier = RealMLPClassifier(**REALMLP)
    if not given:
        classifier.set_params(class_weight={"fair": 0.0})
    counts = pd.Series(classifier.fit(X, CLASS, **given).predict(X)).value_counts()
    assert counts.get("fair", 0) < 5


@pytest.mark.parametrize("estimator", [CLASSIFIERS[0], REGRESSORS[1]], ids=named)
def test_rows_without_weight_are_not_held_out(estimator):
    weights = (X.index < 10).astype(float)
    y = CLASS if is_classifier(estimator) else RENT
    fitted = clone(estimator).set_params(epochs=1, batch_size=128).fit(X, y, weights)
    assert np.isfinite(fitted.validation_score_)
    with pytest.raises(DataError, match="n_samples=120, of which 1 have a weight above 0"):
        fitted.fit(X, y, X.index == 5)


def test_balanced_classes_and_other_metrics():
    classifier = RealMLPClassifier(**{**REALMLP, "epochs": 4}, metric="accuracy")
    fitted = classifier.set_params(class_weight="balanced").fit(X, CLASS)
    assert fitted.metric_ == "accuracy"
    accuracies = [row["val_accuracy"] for row in fitted.history_.rows]
    assert fitted.validation_score_ == max(accuracies)


def test_several_targets():
    Y = np.c_[RENT, -RENT / 1000]
    fitted = TabMRegressor(**TABM).fit(X, Y)
    assert fitted.predict(X).shape == (ROWS, 2)
    assert fitted.metric_ == "r2"
    assert fitted.score(X, Y) > 0.8


def test_several_labels(tmp_path):
    labels = pd.DataFrame({"fair": CLASS == "fair", "large": np.median(AGE) < AGE})
    y = labels.astype(int)
    fitted = TabMClassifier(**{**TABM, "epochs": 2}).fit(X, y)
    assert fitted.metric_ == "log_loss"
    p, predicted = fitted.predict_proba(X), fitted.predict(X)
    assert p.shape == predicted.shape == (len(X), 2)
    np.testing.assert_array_equal(predicted, p > 0.5)
    assert fitted.score(X, y) == (predicted == y.to_numpy()).all(axis=1).mean()
    assert fitted.network_.target_names == ["fair", "large"]
    np.testing.assert_array_equal(fitted.classes_, [0, 1])
    fitted.save(tmp_path / "a")
    loaded = TabMClassifier.load(tmp_path / "a")
    np.testing.assert_array_equal(loaded.predict(X), predicted)
    np.testing.assert_array_equal(loaded.predict_proba(X), p)
    # One column means classes, even if the previous fit had labels.
    assert fitted.fit(X, CLASS).predict(X).shape == (len(X),)
    auc = RealMLPClassifier(**{**REALMLP, "epochs": 8}, metric="auc")
    auc.fit(X, y.to_numpy(), X_val=X, y_val=y)
    expected = roc_auc_score(y, auc.predict_proba(X), average="macro")
    assert auc.validation_score_ == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("parameters", "factor", "message"),
    [
        ({}, 2, "each is a label and must contain only 0 and 1; row .* has 2 in column 1. For one"),
        ({"metric": "accuracy"}, 1, "'accuracy' evaluates one class per row, so it does not fit"),
        ({"class_weight": "balanced"}, 1, "class_weight: not supported for multilabel targets"),
        ({"label_smoothing": 0.1}, 1, "label_smoothing: expected 0 for multilabel"),
    ],
)
def test_settings_that_labels_do_not_support(parameters, factor, message):
    y = np.column_stack([np.arange(len(X)) % 2, factor * (np.median(AGE) < AGE)])
    with pytest.raises(ValueError, match=message):
        RealMLPClassifier(**REALMLP).set_params(**parameters).fit(X, y)


@pytest.mark.parametrize(
    ("gap", "dtype"), [(np.nan, float), (None, object), (pd.NA, "boolean"), ("NA", object)]
)
def test_a_label_that_is_missing(gap, dtype):
    y = pd.DataFrame({"a": np.arange(ROWS) % 2, "b": np.arange(ROWS) % 3 == 0}).astype(dtype)
    y.iloc[4, 1] = gap
    with pytest.raises(DataError, match="y: row 4 has no target"):
        RealMLPClassifier(**REALMLP).fit(X, y)


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=named)
def test_temperature_scaling(estimator, tmp_path):
    # Every second row is unlike what the network learns, so it is overconfident.
    y = np.where(np.arange(ROWS) % 2, CLASS, np.roll(CLASS, 1))
    first, second = (
        clone(estimator)
        .set_params(metric="accuracy", temperature_scaling=scaled)
        .fit(X, CLASS, X_val=X, y_val=y)
        for scaled in (True, False)
    )
    assert second.temperature_ == 1
    assert first.temperature_ > 1
    if not isinstance(estimator, TabMClassifier):  # which averages probabilities
        ratio = second.network_.predict(X) / first.network_.predict(X)
        np.testing.assert_allclose(ratio, first.temperature_, rtol=1e-3)
    losses = [log_loss(y, each.predict_proba(X)) for each in (first, second)]
    assert losses[0] < losses[1]
    first.save(tmp_path / "fitted.safetensors")
    loaded = type(estimator).load(tmp_path / "fitted.safetensors", backend="numpy")
    assert loaded.temperature_ == first.temperature_
    np.testing.assert_array_equal(loaded.predict_proba(X), first.predict_proba(X))


@pytest.mark.parametrize(
    ("estimator", "quantiles", "transform"),
    [
        (REGRESSORS[0], None, None),
        (REGRESSORS[0], None, "log"),
        (REGRESSORS[1], (0.1, 0.5, 0.9), None),
    ],
)
def test_intervals(estimator, quantiles, transform, tmp_path):
    regressor = clone(estimator).set_params(
        quantiles=quantiles, epochs=4, target_transform=transform
    )
    rent = RENT + RANDOM.normal(0, 30, ROWS)
    fitted = regressor.fit(X[:60], rent[:60], X_val=X[60:], y_val=rent[60:])
    predicted, low, high = fitted.predict(X, interval=0.8)
    assert ((low <= predicted) & (predicted <= high)).all()
    assert np.mean(((low <= rent) & (rent <= high))[60:]) >= 0.8
    np.testing.assert_array_equal(predicted, fitted.predict(X))
    assert fitted.metric_ == ("loss" if quantiles or transform else "root_mean_squared_error")
    if transform:  # widths are ratios, so no bound is negative
        np.testing.assert_allclose(high / predicted, predicted / low)
        assert np.ptp(high / low) < 1e-9 < np.ptp(high - low)
    if quantiles:
        every = fitted.predict_quantiles(X)
        assert (np.diff(every, axis=1) >= 0).all()
        np.testing.assert_array_equal(every[:, 1], predicted)
        assert np.ptp(high - low) > 0
    fitted.save(tmp_path / "a.safetensors")
    loaded = type(estimator).load(tmp_path / "a.safetensors", backend="numpy")
    np.testing.assert_array_equal(loaded.predict(X, interval=0.8), (predicted, low, high))


def test_intervals_of_folds():
    regressor = RealMLPRegressor(**BRIEF, quantiles=(0.1, 0.5, 0.9), n_cv=2)
    fitted = regressor.fit(X, RENT)
    _, low, high = fitted.predict(X, interval=0.8)
    assert fitted.oof_predictions_.shape == low.shape == (ROWS,)
    assert (low <= high).all()


def test_intervals_of_several_targets():
    Y = np.c_[RENT, -RENT / 1000]
    predicted, low, high = TabMRegressor(**BRIEF_TABM).fit(X, Y).predict(X, interval=0.9)
    assert predicted.shape == low.shape == high.shape == (ROWS, 2)
    for width in (high - low).T:
        np.testing.assert_allclose(width, width[0])


@pytest.mark.parametrize(
    ("parameters", "interval", "message"),
    [
        ({}, 90, "interval: expected a multiple of 0.01 from 0.01 to 0.99"),
        ({}, 0.99, "needs at least 99 held-out rows"),
        ({"quantiles": (0.1, 0.9)}, None, "quantiles: add 0.5"),
        ({"quantiles": (0.5, 0.1)}, None, "quantiles: expected ascending numbers"),
        ({"quantiles": (0.1, 0.5), "metric": "r2"}, None, "metric: 'r2' cannot be combined"),
    ],
)
def test_intervals_that_do_not_exist(parameters, interval, message):
    regressor = RealMLPRegressor(**BRIEF).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        regressor.fit(X, RENT).predict(X, interval=interval)


@pytest.mark.parametrize(
    ("classifier", "y"),
    [
        (RealMLPClassifier(**BRIEF), CLASS),
        (RealMLPClassifier(**BRIEF, n_cv=2, threshold_for="f1"), CLASS == "dear"),
        (TabMClassifier(**BRIEF_TABM), CLASS),
    ],
)
def test_prediction_sets(classifier, y, tmp_path):
    fitted = classifier.fit(X, y)
    found = fitted.predict_sets(X, coverage=0.8)
    assert found.dtype == bool
    assert found.shape == (ROWS, len(fitted.classes_))
    codes = np.searchsorted(fitted.classes_, fitted.predict(X))
    assert found[np.arange(ROWS), codes].all()
    assert found.sum() > ROWS
    fitted.save(tmp_path / "a.safetensors")
    loaded = type(classifier).load(tmp_path / "a.safetensors", backend="numpy")
    np.testing.assert_array_equal(loaded.predict_sets(X, coverage=0.8), found)
    loaded.network_.prediction_sets = None
    with pytest.raises(ValueError, match="predict_sets: an earlier release saved"):
        loaded.predict_sets(X)


@pytest.mark.parametrize(
    ("y", "coverage", "message"),
    [
        (CLASS, 90, "coverage: expected a multiple of 0.01 from 0.01 to 0.99"),
        (CLASS, 0.99, "a set of 99 % needs at least 99 held-out rows"),
        (np.c_[AGE > 40, AGE > 30].astype(int), 0.9, "predict_sets: needs one class per row"),
    ],
)
def test_prediction_sets_that_do_not_exist(y, coverage, message):
    fitted = RealMLPClassifier(**BRIEF).fit(X, y)
    with pytest.raises(ValueError, match=message):
        fitted.predict_sets(X, coverage=coverage)


DEAR = pd.Series(CLASS == "dear")


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (DEAR.to_numpy(), bool),
        (np.round(RENT / 500), float),
        (X.index % 3, np.int64),
        (CLASS.astype(object), object),
        (DEAR.astype("Int64"), np.int64),
        (DEAR.astype("boolean"), bool),
        (DEAR.astype("uint8"), np.uint8),
    ],
)
def test_classes_keep_their_type(y, expected, tmp_path):
    fitted = TabMClassifier(**{**TABM, "epochs": 1}).fit(X, y)
    assert fitted.classes_.dtype == fitted.predict(X[:2]).dtype == expected
    assert 0 <= fitted.score(X, y) <= 1
    fitted.save(tmp_path / "fitted.safetensors")
    loaded = TabMClassifier.load(tmp_path / "fitted.safetensors", backend="numpy")
    np.testing.assert_array_equal(loaded.classes_, fitted.classes_, strict=True)


def test_a_class_of_one_row():
    y = CLASS.astype(object)
    y[7] = "rare"
    fitted = TabMClassifier(**{**TABM, "epochs": 1}).fit(X, y)
    assert "rare" in fitted.classes_


def test_presets():
    def shape(**parameters):
        fitted = TabMRegressor(epochs=1, random_state=0, **parameters).fit(X[:40], RENT[:40])
        factors = fitted.network_.parameters.specs["members_1.factors"].shape
        return factors[0], fitted.network_.layers[2].units

    assert shape() == (8, 192)
    assert shape(preset="paper", members=2) == (2, 512)


def test_given_kinds_of_columns():
    classifier = RealMLPClassifier(**BRIEF, columns={"age": "category"}, missing_values=["Oslo"])
    columns = {column.name: column for column in classifier.fit(X, CLASS).schema_.columns}
    assert columns["age"].kind == "category"
    assert columns["city"].categories == ("Bern", "Rome")


def test_a_column_that_is_left_out(tmp_path):
    frame = X.assign(name=[f"person{number}" for number in range(ROWS)])  # no warning, as requested
    regressor = RealMLPRegressor(**BRIEF, columns={"name": "drop", "city": "drop"}).fit(frame, RENT)
    assert [each.name for each in regressor.schema_.columns if each.dropped] == ["city", "name"]
    regressor.save(tmp_path / "a")
    assert RealMLPRegressor.load(tmp_path / "a").columns == regressor.columns


@pytest.mark.parametrize("seed", range(2))
def test_a_stray_cell_is_reported_for_any_split(seed):
    spent = [*map(str, AGE[1:]), "oops"]
    frame = {"age": AGE, "spent": spent}
    classifier = RealMLPClassifier(**{**BRIEF, "random_state": seed})
    with pytest.warns(GpunnWarning, match=r"X: column 'spent' .* but 'oops' \(row 119\) is not"):
        fitted = classifier.fit(frame, CLASS)
    assert fitted.schema_.columns[1].kind == "category"
    classifier.set_params(columns={"spent": "category"}).fit(frame, CLASS)


def test_dropped_columns_are_reported_once():
    regressor = RealMLPRegressor(**BRIEF)
    frame = X.assign(country="NO", name=[f"person{number}" for number in range(ROWS)])
    with pytest.warns(GpunnWarning) as caught:
        fitted = regressor.fit(frame, RENT)
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message) == (
        "X: column 'country': dropped: the same in every row; "
        "column 'name': dropped: every row has a different value, like an identifier"
    )
    assert len(fitted.schema_.problems) == 2


def test_many_columns_that_are_dropped():
    frame = {**X[["age", "city"]], **{f"constant{number}": [1] * ROWS for number in range(12)}}
    with pytest.warns(GpunnWarning, match=r"'constant9': .*; 2 more in schema_\.problems$"):
        RealMLPRegressor(**BRIEF).fit(frame, RENT)


def test_categories_only_in_given_validation_rows():
    regressor = RealMLPRegressor(**BRIEF)
    with pytest.warns(UnknownCategoryWarning, match="X_val: .*'city': 2 rows with 'Kiel'"):
        regressor.fit(X, RENT, X_val=X[:2].assign(city="Kiel"), y_val=RENT[:2])
    number = X["age"].fillna(30)
    frame = pd.DataFrame({"age": number, "since": X["since"]})
    with pytest.warns(GpunnWarning, match="X_val: values are missing, but .*'age'"):
        regressor.fit(frame, RENT, X_val=frame[:2].assign(age=np.nan), y_val=RENT[:2])


def test_categories_only_in_held_out_rows():
    """The validation rows were held out at random, so their unknown categories cause no warning."""
    frame = X.assign(town=[f"town{number // 2}" for number in range(ROWS)])
    columns = {"town": "category"}  # a chosen kind causes no warning about many categories
    RealMLPRegressor(**BRIEF, columns=columns).fit(frame, RENT)


def test_an_unknown_category_is_counted():
    fitted = RealMLPRegressor(**BRIEF).fit(X, RENT)
    with pytest.warns(UnknownCategoryWarning, match="'city': 2 rows with 'Kiel'"):
        fitted.predict(X[:2].assign(city="Kiel"))


@pytest.mark.parametrize("estimator", [CLASSIFIERS[0], REGRESSORS[1]], ids=named)
def test_pickles_and_files(estimator, tmp_path):
    y = CLASS if is_classifier(estimator) else RENT
    fitted = clone(estimator).set_params(epochs=2).fit(X, y)
    expected = fitted.predict(X)
    data = pickle.dumps(fitted)
    np.testing.assert_array_equal(pickle.loads(data).predict(X), expected)
    if is_classifier(estimator):
        earlier = pickle.loads(data)
        del earlier.threshold_for  # as in releases without this parameter
        assert clone(earlier).get_params() == fitted.get_params()
        assert repr(earlier) == repr(fitted)
    path = tmp_path / "fitted.safetensors"
    fitted.save(path)
    loaded = type(fitted).load(path, backend="numpy")
    np.testing.assert_array_equal(loaded.predict(X), expected)
    assert (loaded.hidden_layer_sizes, loaded.random_state) == ([32], 0)
    assert loaded.validation_score_ == fitted.validation_score_
    assert list(loaded.feature_names_in_) == list(X)
    outputs = gpunn.load_model(path, backend="numpy").predict(X)
    np.testing.assert_array_equal(outputs, fitted.network_.predict(X))
    other = RealMLPRegressor if is_classifier(estimator) else TabMClassifier
    with pytest.raises(ModelFileError, match=f"load it with {type(fitted).__name__}.load"):
        other.load(path)


def test_files_hold_nothing_of_columns_that_are_dropped(tmp_path):
    path = tmp_path / "fitted.safetensors"
    mails = [f"person{number}@example.org" for number in range(ROWS)]
    mails[5] = "8"
    with pytest.warns(GpunnWarning, match="'mail': dropped"):
        fitted = RealMLPRegressor(**BRIEF).fit(X.assign(mail=mails), RENT)
    fitted.save(path)
    content = path.read_bytes()
    assert b"mail" in content
    assert b"example.org" not in content
    assert b"person" not in content


@pytest.mark.parametrize(
    ("weights", "y"),
    [
        ({0: 1.0, 2: 3.0}, X.index % 3),
        ({True: 2.0}, CLASS == "dear"),
        ({"dear": 2.0}, CLASS),
        ("balanced", CLASS),
    ],
)
def test_files_hold_class_weights(tmp_path, weights, y):
    parameters = {**BRIEF, "class_weight": weights}
    RealMLPClassifier(**parameters).fit(X, y).save(tmp_path / "fitted.safetensors")
    loaded = RealMLPClassifier.load(tmp_path / "fitted.safetensors", backend="numpy")
    assert loaded.class_weight == weights
    loaded.fit(X, y)


class CtrlC(gpunn.callbacks.Callback):
    every_updates = 1

    def __init__(self, epoch):
        self.epoch = epoch

    def on_updates_end(self, trainer):
        if trainer.epoch == self.epoch - 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_the_best_epoch_so_far():
    fitted = RealMLPClassifier(**REALMLP, callbacks=[CtrlC(3)]).fit(X, CLASS)
    assert (fitted.n_iter_, len(fitted.history_["loss"])) == (2, 2)
    assert fitted.best_epoch_ in (1, 2)


def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    classifier = RealMLPClassifier(**BRIEF, callbacks=[CtrlC(1)])
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(X, CLASS)
    with pytest.raises(NotFittedError):
        classifier.predict(X)
    before = classifier.set_params(callbacks=()).fit(X, CLASS).predict(X)
    with pytest.raises(KeyboardInterrupt):
        classifier.set_params(callbacks=[CtrlC(1)]).fit(X, X["member"])
    np.testing.assert_array_equal(classifier.predict(X), before)
    with pytest.raises(DataError, match="expected a finite number"):
        classifier.fit(X.assign(age=np.inf)[["age", "city"]], X["member"])
    np.testing.assert_array_equal(classifier.predict(X), before)


def test_a_metric_that_validation_rows_do_not_define():
    dear = CLASS == "dear"
    classifier = RealMLPClassifier(**BRIEF, metric="auc")
    with pytest.raises(DataError, match="metric: 'auc' is not defined on these validation rows"):
        classifier.fit(X, dear, X_val=X[dear], y_val=dear[dear])


@pytest.mark.filterwarnings("ignore:X.*values are missing")
def test_a_network_that_is_written_in_training_takes_raw_rows(tmp_path):
    path = tmp_path / "best.safetensors"
    writes = {"name": "model_checkpoint", "path": str(path), "monitor": "val_accuracy"}
    classifier = TabMClassifier(**BRIEF_TABM, callbacks=[writes], temperature_scaling=False)
    fitted = classifier.fit(X, CLASS)
    loaded = gpunn.load_model(path, backend="numpy")
    assert loaded.classes == ["cheap", "dear", "fair"]
    np.testing.assert_array_equal(loaded.predict(X), fitted.network_.predict(X))


def test_custom_early_stopping_keeps_the_best_epoch_of_the_metric():
    stop = {"name": "early_stopping", "monitor": "loss", "patience": 100}
    regressor = RealMLPRegressor(**REALMLP, callbacks=[stop], metric="mean_absolute_error")
    regressor.set_params(learning_rate_init=0.1, epochs=40)
    regressor.fit(X[:90], RENT[:90], X_val=X[90:], y_val=RENT[90:])
    assert regressor.best_epoch_ < 40, "else both have the same best epoch"
    error = np.abs(regressor.predict(X[90:]) - RENT[90:]).mean()
    assert error == pytest.approx(regressor.validation_score_, rel=1e-5)


def test_a_network_of_another_kind_is_no_estimator(tmp_path):
    path = tmp_path / "network.safetensors"
    gpunn.Sequential([gpunn.layers.Dense(1)], 2, backend="numpy").save(path)
    with pytest.raises(ModelFileError, match="contains a network without an estimator"):
        TabMRegressor.load(path)


def test_progress(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    TabMRegressor(**{**TABM, "epochs": 3}, progress=True).fit(X, RENT)
    shown = capsys.readouterr().err
    assert "TabMRegressor" in shown
    assert "best 3" in shown


GAPS = RENT.copy()
GAPS[5] = np.nan


@pytest.mark.parametrize(
    ("estimator", "frame", "y", "message"),
    [
        (REGRESSORS[0], X, GAPS, "y: row 5 has no target"),
        (REGRESSORS[0], X, np.ma.masked_array(RENT, X.index == 3), "y: row 3 has no target"),
        (CLASSIFIERS[0], X, np.ma.masked_array(CLASS, X.index == 3), "y: row 3 has no target"),
        (CLASSIFIERS[0], X, np.where(X.index == 4, None, CLASS), "y: row 4 has no target"),
        (REGRESSORS[0], X, np.c_[RENT, GAPS], "y: row 5 has no target"),
        (REGRESSORS[0], X, np.where(X.index == 5, np.inf, RENT), "y: row 5: .* got inf"),
        (REGRESSORS[0], X, np.where(X.index == 5, "dear", "9"), "y: row 5: .* number; got 'dear'"),
        (REGRESSORS[0], X, np.where(X.index == 5, "NA", "9"), "y: row 5 has no target"),
        (REGRESSORS[0], X, [[1, 2], [3, "x"]] * 60, "y: row 1: .* number; got 'x'"),
        (REGRESSORS[0], X, [*RENT[:9], "x", *RENT[10:]], "y: row 9: .* number; got 'x'"),
        (CLASSIFIERS[0], X, np.where(X.index == 4, np.inf, 1), "y: row 4: .* got inf"),
        (CLASSIFIERS[0], X, np.where(X.index == 4, " ? ", CLASS), "y: row 4 has no target"),
        (CLASSIFIERS[0], X[:9], np.arange(9), "y: every row has a different class, so no"),
        (CLASSIFIERS[1], X, DEAR.astype("Int64").where(X.index > 0), "y: row 0 has no target"),
        (CLASSIFIERS[0], X, ["NA", *CLASS[1:]], "y: row 0 has no target.*1 row in total"),
        (CLASSIFIERS[0], X, [*CLASS[:-2], "", np.nan], "y: row 118 has no target.*2 rows"),
        (CLASSIFIERS[0], X, [7, "a"] * 60, "y: .* other types: row 1 has 'a', and row 0 has 7"),
        (
            CLASSIFIERS[0],
            X,
            np.array(["a", 7] * 60, object),
            "y: classes mix strings and other types: row 0 has 'a', and row 1",
        ),
        (
            CLASSIFIERS[1],
            X,
            np.array([True, False] * 60, object),
            r"y: Unknown label type: numbers or Booleans .*; convert it by \.astype\('bool'\)",
        ),
        (
            CLASSIFIERS[0],
            X,
            np.array([pd.Timestamp("2020").date()] * ROWS, object),
            "y: Unknown label type: expected strings, .* got datetime.date",
        ),
        (REGRESSORS[0], X, X["since"], "y: expected numbers; got dates or durations"),
        (CLASSIFIERS[1], X, ["one"] * ROWS, "got one class, 'one', in all 120 rows"),
        (REGRESSORS[1], X.assign(age=np.inf), RENT, "row 0, column 'age'"),
        (REGRESSORS[1], X[:0], RENT[:0], "at least one row"),
        (REGRESSORS[1], X, [], r"y: expected a target for each row; got shape \(0,\)"),
        (CLASSIFIERS[0], X, [], r"y: expected a target for each row; got shape \(0,\)"),
        (CLASSIFIERS[0], X, np.empty((ROWS, 0)), r"y: expected .*; got shape \(120, 0\)"),
        (REGRESSORS[1], X, RENT[:5], "inconsistent numbers of samples"),
        (REGRESSORS[1], X[["city", "city"]], RENT, "both called 'city'"),
    ],
)
def test_bad_data(estimator, frame, y, message):
    with pytest.raises(DataError if message.startswith("y:") else ValueError, match=message):
        clone(estimator).fit(frame, y)


def test_masked_arrays_and_bad_weights():
    numbers = np.stack([AGE, RANDOM.normal(size=ROWS)], axis=1)
    masked = np.ma.masked_array(numbers, numbers > 60)
    regressor = clone(REGRESSORS[0]).set_params(epochs=1)
    gaps = np.where(numbers > 60, np.nan, numbers)
    expected = clone(regressor).fit(gaps, RENT).predict(gaps)
    np.testing.assert_array_equal(regressor.fit(masked, RENT).predict(masked), expected)
    with pytest.raises(DataError, match=r"sample_weight\[5\] is nan"):
        regressor.fit(X, RENT, np.where(X.index == 5, np.nan, 1))


def test_text_that_means_a_missing_target():
    classifier = RealMLPClassifier(**BRIEF, missing_values=["fair"])
    with pytest.raises(DataError, match=r"y: row [0-9]+ has no target"):
        classifier.fit(X, CLASS)
    with pytest.raises(TypeError, match="missing_values: expected a list of strings"):
        classifier.set_params(missing_values=[-999]).fit(X, CLASS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes must be > 0"),
        ({"epochs": 0}, "'epochs' parameter of RealMLPClassifier must be an int"),
        ({"number_embedding": "waves"}, "'number_embedding' parameter"),
        ({"class_weight": {"none": 1.0}}, "there is no class 'none'"),
        ({"class_weight": {"dear": -1.0}}, r"class_weight\['dear'\]: expected a number >= 0"),
        ({"validation_fraction": 0.999}, "validation_fraction: 0.999 of 120 rows would hold out"),
        ({"metric": "acuracy"}, "accuracy"),
        ({"columns": {"agee": "drop"}}, "columns: there is no column 'agee'; did you mean 'age'"),
        ({"columns": {0: "drop"}}, "columns: there is no column 0"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        RealMLPClassifier(**{**REALMLP, **parameters}).fit(X, CLASS)


def test_validation_data_must_fit():
    classifier = RealMLPClassifier(**REALMLP)
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        classifier.fit(X, CLASS, X_val=X)
    with pytest.raises(DataError, match="y_val: has classes that y does not have"):
        classifier.fit(X, CLASS, X_val=X[:2], y_val=["new", "dear"])
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.fit(X, CLASS, X_val=X[["city", "age"]], y_val=CLASS)


@pytest.mark.parametrize("kind", [dict, pd.DataFrame])
def test_a_missing_column(kind):
    fitted = RealMLPRegressor(**BRIEF).fit(kind(X), RENT)
    with pytest.raises(DataError, match=r"X: the column 'city' \(did you mean 'City_'\?\) is"):
        fitted.predict(kind(X.rename(columns={"city": "City_"})))
    with pytest.raises(DataError, match="X: the column 'city' is missing"):
        fitted.predict(kind(X.drop(columns="city")))


RARE = np.random.default_rng(0)
RARE_X = RARE.normal(size=(400, 2)).round(2)
RARE_Y = np.where(RARE.random(400) < 1 / (1 + np.exp(4 - 2 * RARE_X[:, 0])), "yes", "no")


def test_a_threshold_is_chosen_on_validation_rows_and_kept(tmp_path):
    options = {"epochs": 15, "metric": "log_loss", "random_state": 0, "backend": "numpy"}
    options |= {"batch_size": 32, "hidden_layer_sizes": (32,)}
    parts = RARE_X[:250], RARE_Y[:250]
    held = {"X_val": RARE_X[250:], "y_val": RARE_Y[250:]}
    plain = TabMClassifier(**options).fit(*parts, **held)
    chosen = TabMClassifier(**options, threshold_for="balanced_accuracy").fit(*parts, **held)
    assert plain.threshold_ == 0.5
    assert 0 < chosen.threshold_ < 0.5
    np.testing.assert_array_equal(chosen.predict_proba(RARE_X), plain.predict_proba(RARE_X))
    actual = chosen.predict(RARE_X)
    expected = chosen.predict_proba(RARE_X)[:, 1] >= chosen.threshold_
    np.testing.assert_array_equal(actual == "yes", expected)
    yes = RARE_Y[250:] == "yes"
    assert (actual[250:][yes] == "yes").mean() > (plain.predict(RARE_X)[250:][yes] == "yes").mean()
    chosen.save(tmp_path / "a")
    for copied in (TabMClassifier.load(tmp_path / "a"), pickle.loads(pickle.dumps(chosen))):
        np.testing.assert_array_equal(copied.predict(RARE_X), actual)
        assert copied.threshold_ == chosen.threshold_


@pytest.mark.parametrize(
    ("y", "threshold_for", "problem"),
    [
        (RARE_Y, "f3", "The 'threshold_for' parameter of RealMLPClassifier must be None or a crit"),
        (np.arange(400) % 3, "f1", "threshold_for: a threshold needs two classes; y has 3 c"),
        (np.eye(2, dtype=int)[np.arange(400) % 2], "f1", "two classes; y has 2 labels"),
    ],
)
def test_thresholds_that_cannot_be_chosen(y, threshold_for, problem):
    with pytest.raises(InvalidParameterError, match=problem):
        RealMLPClassifier(threshold_for=threshold_for, backend="numpy").fit(RARE_X, y)
