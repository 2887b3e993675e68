"""`n_cv` and `n_ens`: folds and seeds within one tabular estimator."""

import functools
import os
import pickle
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
from c_programs import compiled
from exported_networks import onnx_session, predictor_of
from sklearn.base import clone
from sklearn.metrics import accuracy_score, f1_score, log_loss, root_mean_squared_error

import gpunn
from gpunn.backends.thread_count import one_thread
from gpunn.errors import DataError, GpunnWarning
from gpunn.interchange import save_c, to_onnx
from gpunn.sklearn import RealMLPClassifier, RealMLPRegressor, TabMClassifier, TabMRegressor
from gpunn.sklearn.folds import folds_of
from gpunn.sklearn.held_out import checked_split_by
from gpunn.sklearn.tabular_fits import seed_of
from gpunn.tabular.calibration import best_temperature
from gpunn.thresholds import best_threshold, margins

ROWS = 120
RANDOM = np.random.default_rng(0)
AGE = RANDOM.integers(18, 80, ROWS).astype(float)
X = pd.DataFrame(
    {
        "age": np.where(RANDOM.random(ROWS) < 0.1, np.nan, AGE),
        "city": RANDOM.choice(["Bern", "Oslo", "Rome", None], ROWS),
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(RANDOM.integers(0, 900, ROWS), "D"),
        "town": [f"town{number // 3}" for number in range(ROWS)],
    }
)
RENT = 500.0 + 300 * (X["city"] == "Rome").to_numpy() + 5 * AGE
CLASS = np.where(X["city"] == "Rome", "dear", np.where(AGE > 50, "fair", "cheap"))
DEAR = CLASS == "dear"
LABELS = np.column_stack([DEAR, AGE > 50]).astype(int)
GROUPS = np.arange(ROWS) // 6

SEED = int(np.random.RandomState(0).randint(2**31))  # that of the first network
FAST = {
    "hidden_layer_sizes": (8,),
    "epochs": 2,
    "batch_size": 64,
    "random_state": 0,
    "columns": {"town": "category"},
}
ENSEMBLES = {
    "classes": (RealMLPClassifier(**FAST, metric="accuracy", n_cv=3, n_ens=2), CLASS),
    "numbers": (TabMRegressor(**FAST, members=2, bins=4, n_cv=3, n_ens=2), RENT),
    "labels": (TabMClassifier(**FAST, metric="binary_accuracy", members=2, n_cv=2), LABELS),
    "seeds": (RealMLPRegressor(**FAST, n_ens=3), np.c_[RENT, AGE]),
}


@pytest.fixture(scope="module")
def fitted():
    return {name: clone(each).fit(X, y) for name, (each, y) in ENSEMBLES.items()}


def predicted(estimator, network, rows):
    if isinstance(estimator, (RealMLPClassifier, TabMClassifier)):
        return network.predict_proba(rows)
    outputs = network.predict(rows)
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs


def of_ensemble(estimator, rows):
    is_classifier = hasattr(estimator, "predict_proba")
    return estimator.predict_proba(rows) if is_classifier else estimator.predict(rows)


@pytest.mark.filterwarnings("ignore::gpunn.errors.GpunnWarning")
@pytest.mark.parametrize("name", ENSEMBLES)
def test_predictions_are_means(fitted, name):
    estimator = fitted[name]
    networks = estimator.estimators_
    assert len(networks) == estimator.n_cv * estimator.n_ens == len(estimator.history_)
    every = [predicted(estimator, network, X) for network in networks]
    np.testing.assert_allclose(of_ensemble(estimator, X), np.mean(every, axis=0), 1e-5, 1e-5)
    assert all((each != every[0]).any() for each in every[1:])
    for history, epoch in zip(estimator.history_, estimator.best_epoch_, strict=True):
        scores = np.array(history[f"val_{estimator.metric_}"])
        assert scores[epoch - 1] == (scores.min() if "error" in estimator.metric_ else scores.max())


@pytest.mark.filterwarnings("ignore::gpunn.errors.GpunnWarning")
@pytest.mark.parametrize("name", ["classes", "numbers", "labels"])
def test_held_out_predictions(fitted, name):
    """Each row is predicted by the networks of one fold, which are scored by these predictions."""
    estimator, (_, y) = fitted[name], ENSEMBLES[name]
    networks, seeds = estimator.estimators_, estimator.n_ens
    unused = np.ones(ROWS, bool)
    for fold, score in enumerate(estimator.cv_scores_):
        of_fold = networks[fold * seeds : (fold + 1) * seeds]
        every = np.mean([predicted(estimator, each, X) for each in of_fold], axis=0)
        close = np.isclose(estimator.oof_predictions_, every, 1e-5, 1e-5)
        rows = close.reshape(ROWS, -1).all(axis=1)
        assert rows.sum() == ROWS // estimator.n_cv
        assert unused[rows].all()
        unused &= ~rows
        held = estimator.oof_predictions_[rows]
        if name == "classes":
            expected = accuracy_score(y[rows], estimator.classes_[held.argmax(axis=1)])
        else:
            expected = (
                root_mean_squared_error(y[rows], held)
                if name == "numbers"
                else ((held > 0.5) == y[rows]).mean()
            )
        assert score == pytest.approx(expected, 1e-5)
    assert estimator.validation_score_ == pytest.approx(estimator.cv_scores_.mean())


def test_the_networks_of_all_folds_share_a_temperature():
    """It is the root of the best one of held-out rows, which one network predicts, not the mean."""
    y = np.random.default_rng(1).permutation(CLASS)  # so the networks are overconfident
    options = FAST | {"epochs": 30, "metric": "accuracy", "n_cv": 3, "n_ens": 2}
    scaled, unscaled = (
        RealMLPClassifier(**options, temperature_scaling=scaling).fit(X, y)
        for scaling in (True, False)
    )
    outputs, before = (
        np.array([network.predict(X) for network in each.estimators_])
        for each in (scaled, unscaled)
    )
    temperatures = np.reshape(scaled.temperature_, (6, 1, 1))
    np.testing.assert_allclose(outputs, before / temperatures, rtol=1e-3, atol=1e-5)
    _, codes = np.unique(y, return_inverse=True)
    folds = folds_of(3, ROWS, SEED, codes, None, None)
    for seed in range(2):
        held = before[2 * folds + seed, np.arange(ROWS)].astype(float)
        expected = best_temperature(held, codes, None, average=False) ** 0.5
        assert scaled.temperature_[seed::2] == pytest.approx([expected] * 3, rel=1e-3)
        assert expected > 1


def test_only_folds_have_scores(fitted):
    assert not hasattr(fitted["seeds"], "cv_scores_")
    estimator = RealMLPRegressor(**FAST, n_cv=2).fit(X[:40], RENT[:40])
    assert estimator.oof_predictions_.shape == (40,)
    estimator.set_params(n_cv=1).fit(X[:40], RENT[:40])
    assert not hasattr(estimator, "oof_predictions_")
    assert isinstance(estimator.best_epoch_, int)
    assert estimator.estimators_ == [estimator.network_]


def test_scores_by_the_loss_of_logarithms():
    estimator = RealMLPRegressor(**FAST, target_transform="log", n_cv=2, n_ens=2)
    estimator.fit(X[:40], RENT[:40])
    losses = np.array([min(history["val_loss"]) for history in estimator.history_])
    np.testing.assert_allclose(estimator.cv_scores_, losses.reshape(2, 2).mean(axis=1))


@functools.cache
def held_out(kind, by_groups, change=""):
    """Return folds and held-out predictions of networks; rows of the first row's fold may change.

    The change is to a target, or exchanges two ages, which the schema does not see.
    """
    rows, y, groups = X.copy(), RENT.copy(), GROUPS if by_groups else None
    folds = folds_of(3, ROWS, SEED, None, None, checked_split_by(groups, None, False))
    held = np.flatnonzero(folds == folds[0])
    if change == "y":
        y[held[0]] = 1e4
    elif change:
        rows.loc[held[:2], change] = rows.loc[held[1::-1], change].to_numpy()
    # TabM has one epoch, since changed targets of held-out rows may select another epoch.
    estimator = kind(**FAST | {"epochs": 1 if kind is TabMRegressor else 2}, n_cv=3)
    return folds, estimator.fit(rows, y, groups=groups).oof_predictions_


@pytest.mark.parametrize(
    ("kind", "by_groups", "change"),
    [(TabMRegressor, True, "y"), (TabMRegressor, False, "y"), (RealMLPRegressor, False, "age")],
)
def test_networks_have_not_seen_the_rows_that_they_predict(kind, by_groups, change):
    """What is planted in rows changes no prediction for the other rows of their fold.

    So weights depend only on the rows of the other folds, as the schema does on no target.
    """
    folds, before = held_out(kind, by_groups)
    same = before == held_out(kind, by_groups, change)[1]
    held = np.flatnonzero(folds == folds[0])
    assert same[held[2:]].all()
    assert (same[held[:2]] == (change == "y")).all(), "predictions depend only on inputs"
    assert same[folds != folds[0]].mean() < 0.1


@pytest.mark.parametrize("kind", [RealMLPRegressor, TabMRegressor])
def test_a_category_of_held_out_rows_has_no_effect_on_their_networks(kind):
    """The folds share a schema, which has categories that some networks have not seen."""
    rows = X.assign(city=X["city"].where(X.index != 17, "Kiel"))
    estimator = kind(**FAST, n_cv=3).fit(rows, RENT)
    assert len(estimator.schema_.parts) == 1
    fold = folds_of(3, ROWS, SEED, None, None, None)[17]
    for number, network in enumerate(estimator.estimators_):
        unknown = rows.iloc[[17]].assign(city=None)
        same = network.predict(rows.iloc[[17]]) == network.predict(unknown)
        assert same.all() == (number == fold)


def test_bits_of_a_network_do_not_depend_on_the_others(fitted):
    estimator, y = ENSEMBLES["classes"]
    fewer = clone(estimator).set_params(n_ens=1).fit(X, y).estimators_
    for one, other in zip(fewer, fitted["classes"].estimators_[::2], strict=True):
        values = other.parameters.to_host()
        for parameter, value in one.parameters.to_host().items():
            np.testing.assert_array_equal(value, values[parameter], parameter)


def test_the_bits_of_networks_one_after_another(fitted):
    estimator, y = ENSEMBLES["classes"]
    with gpunn.sklearn.together(2):
        cloned = clone(estimator)
        cloned.fit(X, y)
    np.testing.assert_array_equal(cloned.predict_proba(X), fitted["classes"].predict_proba(X))
    np.testing.assert_array_equal(cloned.oof_predictions_, fitted["classes"].oof_predictions_)


def test_the_first_seed_is_the_network_without_others(fitted):
    estimator, y = ENSEMBLES["seeds"]
    with one_thread():
        alone = clone(estimator).set_params(n_ens=1).fit(X, y)
    np.testing.assert_array_equal(
        alone.network_.predict(X), fitted["seeds"].estimators_[0].predict(X)
    )


@pytest.mark.parametrize("name", ENSEMBLES)
def test_pickles_and_files(fitted, name, tmp_path):
    estimator, path = fitted[name], tmp_path / "a.safetensors"
    expected = of_ensemble(estimator, X)
    pickled = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(of_ensemble(pickled, X), expected)
    estimator.save(path)
    loaded = type(estimator).load(path, backend="numpy")
    np.testing.assert_array_equal(of_ensemble(loaded, X), expected)
    assert (loaded.n_cv, loaded.n_ens) == (estimator.n_cv, estimator.n_ens)
    for attribute in ("best_epoch_", "n_iter_", "validation_score_", "temperature_"):
        if hasattr(estimator, attribute):
            assert getattr(loaded, attribute) == getattr(estimator, attribute)
    np.testing.assert_array_equal(
        getattr(loaded, "cv_scores_", None), getattr(estimator, "cv_scores_", None)
    )
    assert len(loaded.estimators_) == len(estimator.estimators_)
    outputs = gpunn.load_model(path, backend="numpy").predict(X)
    np.testing.assert_array_equal(outputs, estimator.network_.predict(X))
    assert clone(loaded).get_params()["n_ens"] == estimator.n_ens


def cells(column):
    return ["" if value != value or value is None else str(value) for value in X[column]]


@pytest.mark.parametrize("name", ["classes", "numbers"])
def test_exports(fitted, name, tmp_path):
    network = fitted[name].network_
    expected = network.predict(X)
    rows = [list(row) for row in zip(*map(cells, X), strict=True)]
    for pure in (False, True):
        predictor = predictor_of(network, pure=pure)
        counts: dict = {}
        outputs = predictor["predict"](predictor["encoded"](rows, counts))
        np.testing.assert_allclose(outputs, expected, 1e-5, 1e-5)
        assert not counts, "nothing is unseen by all networks"
    numbers = {
        "age": X["age"].to_numpy(),
        "since": (X["since"] - pd.Timestamp(0)).dt.total_seconds().to_numpy(),
    }
    text = {column: np.array(cells(column), object) for column in ("city", "town")}
    feed = {column: values[:, None] for column, values in (numbers | text).items()}
    (outputs,) = onnx_session(to_onnx(network)).run(["output"], feed)
    np.testing.assert_allclose(outputs, expected, 1e-5, 1e-5)
    if name == "numbers" and shutil.which("gcc"):
        np.testing.assert_allclose(outputs_in_c(network, tmp_path), expected, 1e-5, 1e-5)


PROGRAM = """\
#include <stdio.h>
#include "a.h"

int main(void) {
    static const predictor_row rows[] = {ROWS};
    for (unsigned k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        float input[PREDICTOR_INPUTS], output[PREDICTOR_OUTPUTS];
        predictor_encode(&rows[k], input);
        predictor_predict(input, output);
        for (int i = 0; i < PREDICTOR_OUTPUTS; i++) printf("%.9g ", output[i]);
        puts("");
    }
    return 0;
}
"""


def outputs_in_c(network, folder):
    save_c(network, folder / "a.h")
    structs = []
    for age, city, since, town in X.itertuples(index=False):
        number = "NAN" if age != age else repr(float(age))
        name = f'"{city}"' if isinstance(city, str) else "0"
        date = f"{{{since.year}, {since.month}, {since.day}, 0}}"
        structs.append(f'{{{number}, {name}, {date}, "{town}"}}')
    (folder / "main.c").write_text(PROGRAM.replace("ROWS", ",\n".join(structs)))
    lines = compiled("gcc", folder, "main.c", flags=("-O0",)).splitlines()
    return [list(map(float, line.split())) for line in lines]


def test_weights():
    weights = np.where(AGE > 50, 0.0, 1.0)
    estimator = RealMLPRegressor(**FAST, n_cv=2).fit(X, RENT, weights)
    assert np.isfinite(estimator.oof_predictions_).all()
    squares = (estimator.oof_predictions_ - RENT) ** 2
    # Folds have equal sums of weights, up to one row.
    mean = (estimator.cv_scores_**2).mean()
    assert mean == pytest.approx(np.average(squares, weights=weights), 0.05)


def test_scores_count_class_weights():
    factors = {label: 1.0 + number for number, label in enumerate(np.unique(CLASS).tolist())}
    weights, groups = np.array([factors[label] for label in CLASS.tolist()]), np.arange(ROWS) % 2
    estimator = RealMLPClassifier(**FAST, n_cv=2, class_weight=factors)
    estimator.fit(X, CLASS, groups=groups)
    losses = [
        log_loss(CLASS[rows], estimator.oof_predictions_[rows], sample_weight=weights[rows])
        for rows in (groups == 0, groups == 1)
    ]
    np.testing.assert_allclose(sorted(estimator.cv_scores_), sorted(losses), 1e-5)


def test_a_class_that_some_networks_do_not_learn():
    y = CLASS.astype(object)
    y[7] = "rare"
    estimator = RealMLPClassifier(**FAST, n_cv=2, class_weight="balanced")
    with pytest.warns(GpunnWarning, match="n_cv: y has 1 class with rows in only one fold"):
        estimator.fit(X, y)
    np.testing.assert_allclose(estimator.oof_predictions_.sum(axis=1), 1)


def test_the_threshold_is_chosen_on_held_out_rows():
    estimator = RealMLPClassifier(**FAST, n_cv=3, threshold_for="f1").fit(X, DEAR)
    p = estimator.oof_predictions_
    choice = best_threshold("f1", margins(np.log(p)), DEAR, None)
    assert estimator.threshold_ == pytest.approx(choice.threshold, 1e-4)
    best = f1_score(DEAR, p[:, 1] >= estimator.threshold_ * (1 - 1e-6))
    assert best >= f1_score(DEAR, p[:, 1] >= 0.5)
    np.testing.assert_array_equal(
        estimator.predict(X), estimator.predict_proba(X)[:, 1] >= estimator.threshold_
    )


def test_warnings_come_once():
    frame = X[["age", "city"]].assign(country="NO")
    estimator = RealMLPRegressor(**{**FAST, "columns": None}, n_cv=3, n_ens=2)
    with pytest.warns(GpunnWarning) as caught:
        estimator.fit(frame, RENT)
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message) == "X: column 'country': dropped: the same in every row"


class CtrlC(gpunn.callbacks.Callback):
    def on_epoch_end(self, trainer, logs):
        if trainer.model.seed == seed_of(SEED, 0, 1) and trainer.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_no_part_of_an_ensemble(fitted):
    estimator = pickle.loads(pickle.dumps(fitted["seeds"]))
    estimator.set_params(callbacks=[CtrlC()], epochs=1000)  # so that none ends before
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, RENT)
    np.testing.assert_array_equal(estimator.predict(X), fitted["seeds"].predict(X))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"X_val": X, "y_val": RENT}, "X_val: cannot be combined with n_cv=3, since the rows of"),
        ({"times": AGE}, "times: cannot be combined with n_cv=3"),
        ({"groups": GROUPS // 10}, "groups: 3 folds need at least 3 groups; got 2"),
    ],
)
def test_rows_that_folds_do_not_support(given, problem):
    with pytest.raises(ValueError, match=problem):
        RealMLPRegressor(**FAST, n_cv=3).fit(X, RENT, **given)


def test_too_few_rows():
    with pytest.raises(DataError, match="n_cv: 9 folds need at least 9 rows; got n_samples=5"):
        RealMLPRegressor(**FAST, n_cv=9).fit(X[:5], RENT[:5])
    with pytest.raises(ValueError, match=r"'n_ens' parameter of .* must be an int in the range"):
        RealMLPRegressor(**FAST, n_ens=0).fit(X, RENT)


def test_a_shared_validation_set():
    rows = X[["age", "since"]]
    estimator = RealMLPRegressor(**{**FAST, "columns": None}, n_ens=2)
    estimator.fit(rows[:80], RENT[:80], X_val=rows[80:], y_val=RENT[80:])
    expected = root_mean_squared_error(RENT[80:], estimator.predict(rows[80:]))
    assert estimator.validation_score_ == pytest.approx(expected, 1e-5)
