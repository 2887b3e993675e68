"""Estimators and networks in joblib's processes: results and numbers of threads."""

import os

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.preprocessing import StandardScaler

import gpunn
from gpunn.backends.thread_count import usable_cores
from gpunn.sklearn import MLPClassifier

X, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)

ONE_THREAD = gpunn.get_backend("numpy", threads=1)


def classifier(**parameters):
    return MLPClassifier(
        (8,), max_iter=300, learning_rate_init=0.05, tol=1e-3, random_state=0, **parameters
    )


def threads():
    return gpunn.get_backend("numpy").threads, os.getpid()


@pytest.fixture
def no_variables(monkeypatch):
    """No process has a setting for the number of threads, including processes of earlier tests."""
    for variable in ("GPUNN_THREADS", "OMP_NUM_THREADS"):
        if variable in os.environ:
            monkeypatch.delenv(variable)
            get_reusable_executor().shutdown(wait=True)


@pytest.mark.usefixtures("no_variables")
def test_each_worker_takes_its_share_of_the_cores():
    answers = joblib.Parallel(2)(joblib.delayed(threads)() for _ in range(8))
    share = max(1, joblib.cpu_count() // 2)
    assert {each for each, _ in answers} == {min(share, usable_cores())}
    assert os.getpid() not in {process for _, process in answers}


@pytest.mark.full
@pytest.mark.usefixtures("no_variables")
def test_the_share_can_be_chosen():
    with joblib.parallel_config("loky", inner_max_num_threads=2):
        answers = joblib.Parallel(2)(joblib.delayed(threads)() for _ in range(4))
    assert {each for each, _ in answers} == {min(2, usable_cores())}


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_folds_side_by_side_have_the_results_of_one_after_the_other(backend):
    estimator = classifier(backend=ONE_THREAD)
    alone = cross_validate(estimator, X, y, cv=3, return_estimator=True)
    with joblib.parallel_config(backend, n_jobs=2):
        beside = cross_validate(estimator, X, y, cv=3, return_estimator=True)
    assert alone["test_score"].min() > 0.8
    np.testing.assert_array_equal(alone["test_score"], beside["test_score"])
    for one, other in zip(alone["estimator"], beside["estimator"], strict=True):
        for actual, expected in zip(one.coefs_, other.coefs_, strict=True):
            np.testing.assert_array_equal(actual, expected)


def search_on_dask(scheduler, X, y):
    from dask.distributed import Client

    with Client(scheduler), joblib.parallel_config("dask"):
        search = GridSearchCV(classifier(), {"alpha": [1e-4, 1e-2]}, cv=3)
        return search.fit(X, y)


@pytest.mark.full
def test_a_search_on_dask():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        answers = search_on_dask(cluster, X, y)
        with distributed.Client(cluster), joblib.parallel_config("dask"):
            taken = joblib.Parallel()(joblib.delayed(threads)() for _ in range(6))
    alone = GridSearchCV(classifier(), {"alpha": [1e-4, 1e-2]}, cv=3).fit(X, y)
    name = "mean_test_score"
    np.testing.assert_allclose(answers.cv_results_[name], alone.cv_results_[name], atol=0.02)
    assert answers.score(X, y) > 0.9
    assert {each for each, _ in taken} == {1}  # Dask sets this for OpenMP in its processes
    assert os.getpid() not in {process for _, process in taken}
