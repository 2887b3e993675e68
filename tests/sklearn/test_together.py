"""Networks that are trained together equal networks that are trained alone, on one thread."""

import os
import signal
import threading
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from joblib import parallel_config
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import gpunn
from gpunn.callbacks import Callback
from gpunn.errors import ArgumentError
from gpunn.sklearn import MLPClassifier, MLPRegressor, base, engine, together
from gpunn.sklearn.base import BasePerceptron
from gpunn.training import epoch_blocks

X, y = load_iris(return_X_y=True)
WEIGHTS = np.arange(150) % 4 / 2
RATES = {"learning_rate_init": [0.01, 0.1]}
GRID = {"hidden_layer_sizes": [(4,), (6, 3)], **RATES}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def mlp(cls=MLPClassifier, **parameters):
    return cls(
        **{
            "hidden_layer_sizes": (4,),
            "max_iter": 4,
            "batch_size": 20,
            "random_state": 0,
            "backend": "numpy",
            **parameters,
        }
    )


def fitted(*kinds):
    return [(type(kind).__name__, lambda kind=kind: clone(kind).fit(X, y)) for kind in kinds]


def folds(estimator, y=y):
    return cross_validate(estimator, X, y, cv=3, return_estimator=True)


TOOLS = [
    *fitted(
        GridSearchCV(mlp(early_stopping=True), GRID, cv=2),
        GridSearchCV(mlp(max_iter=9, tol=1.0, n_iter_no_change=2), RATES, cv=2, n_jobs=3),
        RandomizedSearchCV(
            mlp(solver="sgd", learning_rate="invscaling", dropout=0.2),
            {"alpha": loguniform(1e-5, 1)},
            n_iter=4,
            cv=2,
            random_state=0,
        ),
        HalvingGridSearchCV(mlp(), RATES, cv=2, random_state=0, min_resources=60),
        StackingClassifier([("a", mlp()), ("b", mlp(batch_norm=True))], LogisticRegression(), cv=2),
        GridSearchCV(
            make_pipeline(StandardScaler(), BaggingClassifier(mlp(), 2, n_jobs=2, random_state=0)),
            {"baggingclassifier__estimator__alpha": [1e-4, 1.0]},
            cv=2,
        ),
    ),
    ("cross_validate", lambda: folds(mlp(random_state=np.random.RandomState(2)))),
    ("lbfgs", lambda: folds(mlp(solver="lbfgs"))),
    ("regression", lambda: folds(mlp(MLPRegressor, dtype="float32"), X[:, 0])),
    ("weights", lambda: [mlp(early_stopping=k).fit(X, y, WEIGHTS) for k in (False, True)]),
]


def learned(result):
    if isinstance(result, BasePerceptron):
        names = ("coefs_", "intercepts_", "normalization_", "loss_curve_", "n_iter_")
        return [learned(getattr(result, name, None)) for name in names]
    if isinstance(result, dict):
        return [(k, learned(v)) for k, v in result.items() if "_time" not in k]
    if isinstance(result, list | tuple):
        return list(map(learned, result))
    if isinstance(result, np.ndarray):
        return [result.dtype.str, result.tolist()]
    if hasattr(result, "fit"):
        return [learned(v) for k, v in vars(result).items() if k[-1] == "_" and "_time" not in k]
    return repr(result)


@pytest.mark.parametrize(("name", "run"), TOOLS, ids=[name for name, _ in TOOLS])
def test_results_are_those_of_one_thread(name, run, monkeypatch):
    monkeypatch.setattr(epoch_blocks, "SECONDS", 1e9)
    monkeypatch.setattr(epoch_blocks, "MAX_SECONDS", 1e9)
    with together(2):
        actual = learned(run())
    monkeypatch.setenv("GPUNN_THREADS", "1")
    with parallel_config("sequential"):
        assert actual == learned(run())


def test_weighted_rows_train_in_blocks(monkeypatch):
    runs, run = [], epoch_blocks.EpochBlocks.run
    monkeypatch.setattr(epoch_blocks, "MAX_SECONDS", 1e9)
    monkeypatch.setattr(
        epoch_blocks.EpochBlocks, "run", lambda self, *given: runs.append(1) or run(self, *given)
    )
    mlp(max_iter=9).fit(X, y, WEIGHTS)
    assert runs


def test_errors_and_warnings():
    def run(context, **options):
        search = GridSearchCV(mlp(), {"alpha": [1.0, -1.0]}, cv=3, refit=False, **options)
        with warnings.catch_warnings(record=True) as caught, context:
            warnings.simplefilter("always")
            search.fit(X, y)
        scores = search.cv_results_["mean_test_score"].tolist()
        return scores, sorted(f"{each.category} {each.message}" for each in caught)

    assert repr(run(together(2))) == repr(run(nullcontext()))  # with NaN
    filters = warnings.filters, list(warnings.filters)
    with pytest.raises(ValueError, match="'alpha' parameter of MLPClassifier"):
        run(together(2), error_score="raise")
    assert (warnings.filters, list(warnings.filters)) == filters
    with pytest.raises(ArgumentError, match="threads: expected an integer >= 1; got 0"):
        together(0).__enter__()


def test_networks_are_made_once_per_thread(monkeypatch):
    made = []

    def make(*arguments):
        made.append(threading.get_ident())
        assert gpunn.get_backend("numpy").threads == 1
        return gpunn.Sequential(*arguments)

    monkeypatch.setattr(engine, "Sequential", make)
    with together(2):
        estimators = [folds(mlp(hidden_layer_sizes=(k,)))["estimator"] for k in (3, 4, 3, 4)]
        assert max(map(made.count, made)) <= 2
        assert threading.get_ident() not in made
        first = estimators[0][0].predict(X)
    monkeypatch.undo()
    np.testing.assert_array_equal(estimators[0][0].predict(X), first)


def test_a_network_may_be_used_by_others_between_two_calls():
    def train(other):
        estimator = mlp().fit(X, y)
        other()
        estimator.partial_fit(X, y)
        other()
        return learned([estimator, estimator.predict_proba(X)])

    with together(2):
        assert train(lambda: mlp(alpha=1.0).fit(X, y).predict(X)) == train(lambda: None)


def test_two_threads():
    expected, found = learned(folds(mlp(backend=gpunn.get_backend("numpy", threads=1)))), []

    def run():
        with together(2):
            found.append(learned(folds(mlp(backend=gpunn.get_backend("numpy", threads=1)))))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for function in (threading.Thread.start, threading.Thread.join):
        list(map(function, threads))
    assert found == [expected, expected]


class Interrupt(Callback):
    name = "interrupt_in_test"
    unsent = threading.Lock()

    def on_epoch_end(self, trainer, logs):
        # A second signal, of the other fit, would interrupt the test after training.
        if logs["epoch"] == 3 and self.unsent.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_all_threads():
    endless = mlp(max_iter=10**9, n_iter_no_change=10**9, callbacks=[Interrupt()])
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt), together(2):
        folds(endless)
    for thread in set(threading.enumerate()) - before:
        thread.join()  # soon, since training stops between two steps


@pytest.mark.parametrize("rule", [{}, {"early_stopping": True}, {"dropout": 0.5}])
def test_estimators_that_share_random_draws_equal_estimators_alone(rule):
    binary = y % 2
    others = [
        lambda: mlp(**rule, alpha=0.5).fit(X, binary),
        lambda: mlp(**rule, random_state=1).fit(X, binary),
        lambda: mlp(**rule, max_iter=3).fit(X, binary),
        lambda: mlp(**rule, validation_fraction=0.3).fit(X, binary),
        lambda: mlp(**rule, activation="logistic").fit(X, binary),
        lambda: mlp(**{"dropout": 0.2} | rule).fit(X, binary),
        lambda: mlp(MLPRegressor, **rule).fit(X, binary),
        lambda: mlp(**rule).fit(X[:90], binary[:90]),
        lambda: mlp(**rule).fit(X, np.roll(binary, 7)),
        lambda: mlp(**rule).fit(X, binary, groups=np.arange(150) // 2),
        lambda: mlp(**rule).fit(X, binary, X_val=X[::9], y_val=binary[::9]),
    ]
    expected = learned(mlp(**rule).fit(X, binary))
    for other in others:
        alone = learned(other())
        with engine.reused_networks():
            for _ in range(2):
                assert learned(mlp(**rule).fit(X, binary)) == expected
                assert learned(other()) == alone


def test_a_division_depends_on_labels_but_not_on_the_memory_of_their_objects(monkeypatch):
    divided, split = [], base.train_test_split
    monkeypatch.setattr(
        base, "train_test_split", lambda *args, **named: divided.append(1) or split(*args, **named)
    )
    with engine.reused_networks():
        for labels in (y, y, np.roll(y, 7)):
            objects = np.array([f"odd: {number % 2}" for number in labels], object)
            mlp(early_stopping=True).fit(X, objects)
    assert len(divided) == 2


@pytest.mark.parametrize(("units", "kept"), [(1000, 1), (100_000, 0)])
def test_initial_values_of_large_networks_are_not_kept(units, kept):
    with engine.reused_networks():
        mlp(hidden_layer_sizes=(units,), max_iter=1).fit(X, y)
        draws = [each for each in engine.UNUSED.networks.values() if isinstance(each, engine.Draws)]
    assert len(draws) == kept
