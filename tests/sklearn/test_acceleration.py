"""scikit-learn's perceptrons trained by gpunn: only the training changes."""

import copy
import gc
import pickle
import warnings
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from joblib.externals.loky.backend import reduction
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils.estimator_checks import check_estimator

import gpunn.sklearn
from gpunn.errors import BackendUnavailableError, GpunnWarning
from gpunn.sklearn import acceleration
from gpunn.sklearn.acceleration import INSTALLED

DIGITS, LABELS = load_digits(return_X_y=True)
X, Y = DIGITS[:120] / 16, LABELS[:120]
MANY, MANY_LABELS = make_multilabel_classification(80, 6, n_classes=3, random_state=0)

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0}


@pytest.fixture(autouse=True)
def undone():
    yield
    gpunn.sklearn.uninstall()


def learned(estimator):
    """Return the fitted attributes, except the objects that scikit-learn's training keeps."""
    parameters = {*estimator.get_params(), "loss", "_random_state", "_optimizer"}
    private = {"_best_coefs", "_best_intercepts", "_coef_indptr", "_intercept_indptr"}
    return {
        name: value for name, value in vars(estimator).items() if name not in parameters | private
    }


def assert_same(actual, expected):
    actual, expected = learned(actual), learned(expected)
    assert actual.keys() == expected.keys()
    for name in actual.keys() - {"_label_binarizer"}:
        if name in ("classes_", "out_activation_"):
            np.testing.assert_array_equal(actual[name], expected[name])
        elif isinstance(expected[name], list) and name in ("coefs_", "intercepts_"):
            for a, b in zip(actual[name], expected[name], strict=True):
                np.testing.assert_allclose(a, b, 1e-7, 1e-9, err_msg=name)
        elif expected[name] is None:
            assert actual[name] is None, name
        else:
            np.testing.assert_allclose(actual[name], expected[name], 1e-7, err_msg=name)


CASES = {
    "classes": (MLPClassifier(**SMALL), X, Y),
    "two classes by name": (MLPClassifier(**SMALL), X, np.where(Y > 4, "high", "low")),
    "labels": (MLPClassifier(**SMALL), MANY, MANY_LABELS),
    "numbers": (MLPRegressor(**SMALL), X, X[:, 20]),
    "several numbers": (MLPRegressor(**SMALL), X, X[:, 20:23]),
    "sparse": (MLPClassifier(**SMALL), csr_matrix(X), Y),
    "sgd": (MLPRegressor(**SMALL, solver="sgd", learning_rate="adaptive"), X, X[:, 20]),
    "early stopping": (MLPClassifier(**SMALL, early_stopping=True), X, Y),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_is_learned(name):
    estimator, inputs, targets = CASES[name]
    expected = clone(estimator).fit(inputs, targets)
    with gpunn.sklearn.install() as acceleration:
        actual = clone(estimator).fit(inputs, targets)
    assert acceleration.fits == {"gpunn": 1}
    assert type(actual) is type(expected)
    assert repr(actual) == repr(expected)
    assert_same(actual, expected)
    if name == "two classes by name":
        np.testing.assert_array_equal(actual.predict(inputs), expected.predict(inputs))
        return
    np.testing.assert_allclose(actual.predict(inputs), expected.predict(inputs), 1e-7, 1e-9)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_training_continues(kind):
    """This also holds if gpunn did one fit and scikit-learn the next."""

    def steps(estimator):
        first = {"classes": range(10)} if kind is MLPClassifier else {}
        estimator.partial_fit(X[:60], Y[:60], **first)
        estimator.partial_fit(X[60:], Y[60:])
        return estimator

    expected = steps(kind(**SMALL))
    with gpunn.sklearn.install() as acceleration:
        actual = steps(kind(**SMALL))
        assert acceleration.fits == {"gpunn": 2}
        assert_same(actual, expected)
        warm = kind(**SMALL, warm_start=True).fit(X, Y)
        warm.fit(X, Y)
    again = kind(**SMALL, warm_start=True).fit(X, Y).fit(X, Y)
    assert_same(warm, again)
    assert actual.partial_fit(X, Y).t_ == expected.partial_fit(X, Y).t_
    with gpunn.sklearn.install():
        assert actual.partial_fit(X, Y).t_ == expected.partial_fit(X, Y).t_ == 360


def test_lbfgs_finds_as_good_a_minimum():
    options = {**SMALL, "solver": "lbfgs", "max_iter": 300}
    expected = MLPClassifier(**options).fit(X, Y)
    with gpunn.sklearn.install():
        actual = MLPClassifier(**options).fit(X, Y)
    assert actual.loss_ == pytest.approx(expected.loss_, rel=0.5)
    assert learned(actual).keys() - {"_no_improvement_count"} == learned(expected).keys()


def test_off_again_without_a_trace():
    def traces():
        return (
            dict(vars(BaseMultilayerPerceptron)),
            dict(vars(MLPClassifier)),
            dict(reduction._dispatch_table),
            dict(ForkingPickler._extra_reducers),
        )

    before = traces()
    first = gpunn.sklearn.install()
    assert traces() != before
    assert gpunn.sklearn.install() is first
    gpunn.sklearn.uninstall()
    assert traces() == before
    gpunn.sklearn.uninstall()
    gpunn.sklearn.load_ipython_extension(None)
    MLPClassifier(**SMALL).fit(X, Y)
    gpunn.sklearn.unload_ipython_extension(None)
    assert traces() == before


def test_pickles_are_the_same_as_scikit_learns():
    with gpunn.sklearn.install():
        fitted = MLPClassifier(**SMALL).fit(X, Y)
        content = pickle.dumps(fitted)
        assert copy.deepcopy(fitted).predict(X).tolist() == fitted.predict(X).tolist()
    assert b"gpunn" not in content
    np.testing.assert_array_equal(pickle.loads(content).predict(X), fitted.predict(X))


@pytest.mark.parametrize("dumps", [ForkingPickler.dumps, reduction.dumps])
def test_estimators_in_other_processes_train_by_gpunn(dumps, monkeypatch):
    with gpunn.sklearn.install("numpy"):
        content = bytes(dumps({"a": MLPClassifier(**SMALL).fit(X, Y)}))
    pickle.loads(content)
    assert INSTALLED == []  # in the parent process, where it is turned off
    monkeypatch.setattr(acceleration, "parent_process", lambda: object())
    received = pickle.loads(content)["a"]
    assert [each.backend for each in INSTALLED] == ["numpy"]
    assert received.fit(X, Y).n_iter_ == 4
    assert INSTALLED[0].fits == {"gpunn": 1}


class Renamed(MLPClassifier):
    def __init__(self, units=8):
        self.units = units
        super().__init__((units,), max_iter=3, random_state=0)


class Own(MLPClassifier):
    def _backprop(self, *arguments):
        return super()._backprop(*arguments)


def test_subclasses_are_trained_where_they_train_as_their_base():
    with gpunn.sklearn.install() as acceleration:
        assert Renamed().fit(X, Y).n_iter_ == 3
        assert acceleration.fits == {"gpunn": 1}
        with pytest.warns(GpunnWarning, match="Own: .* Own overrides the method '_backprop'"):
            Own(**SMALL).fit(X, Y)
        with warnings.catch_warnings():
            warnings.simplefilter("error", GpunnWarning)
            Own(**SMALL).fit(X, Y)  # warns once
        assert acceleration.fits == {"gpunn": 1, "scikit-learn": 2}


def test_scikit_learn_trains_estimators_that_gpunn_refuses():
    weights = np.ones(len(Y))
    weights[3] = -0.5
    options = {**SMALL, "random_state": None}
    expected = MLPClassifier(**{**options, "random_state": np.random.RandomState(5)})
    expected.fit(X, Y, sample_weight=weights)
    with gpunn.sklearn.install() as acceleration:
        actual = MLPClassifier(**{**options, "random_state": np.random.RandomState(5)})
        with pytest.warns(GpunnWarning, match=r"trained by scikit-learn, .* sample_weight\[3\]"):
            actual.fit(X, Y, sample_weight=weights)
        assert acceleration.fits == {"scikit-learn": 1}
        np.testing.assert_array_equal(actual.coefs_[0], expected.coefs_[0])
        with pytest.raises(ValueError, match="Input X contains NaN"):
            actual.fit(X * np.nan, Y)


class Equal(MLPRegressor):
    def __eq__(self, other):
        return isinstance(other, Equal)


def test_equal_estimators_are_trained_separately():
    """The twin of an estimator is deleted with it."""
    expected = Equal(**SMALL).partial_fit(X, Y).partial_fit(X, Y)
    with gpunn.sklearn.install() as acceleration:
        actual, other = Equal(**SMALL), Equal(**SMALL)
        actual.partial_fit(X, Y)
        other.partial_fit(X, -Y)
        assert_same(actual.partial_fit(X, Y), expected)
        assert len(acceleration._twins) == 2
        del actual, other
        gc.collect()
        assert acceleration._twins == {}


class Broken(MLPClassifier):
    def _backprop(self, *arguments):
        raise KeyError("mine")


def test_an_error_of_a_fall_back_has_no_error_of_gpunns_before_it():
    with (
        gpunn.sklearn.install(),
        pytest.warns(GpunnWarning, match="'_backprop'"),
        pytest.raises(KeyError, match="mine") as error,
    ):
        Broken(**SMALL).fit(X, Y)
    assert error.value.__context__ is None


def test_warnings_come_from_the_module_that_filters_name():
    with gpunn.sklearn.install(), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
        MLPClassifier(**SMALL).fit(X, Y)


def test_a_backend():
    with gpunn.sklearn.install("numpy") as acceleration:
        assert acceleration.backend == "numpy"
    with pytest.raises(BackendUnavailableError):
        gpunn.sklearn.install("cupy:99")
    assert BaseMultilayerPerceptron._fit is acceleration.original


@pytest.mark.full
@pytest.mark.parametrize("estimator", [MLPClassifier(), MLPRegressor()], ids=repr)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_of_estimators(estimator):
    with gpunn.sklearn.install() as acceleration:
        check_estimator(estimator)
    assert acceleration.fits["gpunn"] > 50
