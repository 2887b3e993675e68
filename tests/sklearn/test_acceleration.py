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


def assert_same(ours, theirs):
    ours, theirs = learned(ours), learned(theirs)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"_label_binarizer"}:
        if name in ("classes_", "out_activation_"):
            np.testing.assert_array_equal(ours[name], theirs[name])
        elif isinstance(theirs[name], list) and name in ("coefs_", "intercepts_"):
            for a, b in zip(ours[name], theirs[name], strict=True):
                np.testing.assert_allclose(a, b, 1e-7, 1e-9, err_msg=name)
        elif theirs[name] is None:
            assert ours[name] is None, name
        else:
            np.testing.assert_allclose(ours[name], theirs[name], 1e-7, err_msg=name)


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
    theirs = clone(estimator).fit(inputs, targets)
    with gpunn.sklearn.install() as acceleration:
        ours = clone(estimator).fit(inputs, targets)
    assert acceleration.fits == {"gpunn": 1}
    assert type(ours) is type(theirs)
    assert repr(ours) == repr(theirs)
    assert_same(ours, theirs)
    if name == "two classes by name":
        np.testing.assert_array_equal(ours.predict(inputs), theirs.predict(inputs))
        return
    np.testing.assert_allclose(ours.predict(inputs), theirs.predict(inputs), 1e-7, 1e-9)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_training_goes_on(kind):
    """This also holds if gpunn did one fit and scikit-learn the next."""

    def steps(estimator):
        first = {"classes": range(10)} if kind is MLPClassifier else {}
        estimator.partial_fit(X[:60], Y[:60], **first)
        estimator.partial_fit(X[60:], Y[60:])
        return estimator

    theirs = steps(kind(**SMALL))
    with gpunn.sklearn.install() as acceleration:
        ours = steps(kind(**SMALL))
        assert acceleration.fits == {"gpunn": 2}
        assert_same(ours, theirs)
        warm = kind(**SMALL, warm_start=True).fit(X, Y)
        warm.fit(X, Y)
    again = kind(**SMALL, warm_start=True).fit(X, Y).fit(X, Y)
    assert_same(warm, again)
    assert ours.partial_fit(X, Y).t_ == theirs.partial_fit(X, Y).t_
    with gpunn.sklearn.install():
        assert ours.partial_fit(X, Y).t_ == theirs.partial_fit(X, Y).t_ == 360


def test_lbfgs_finds_as_good_a_minimum():
    options = {**SMALL, "solver": "lbfgs", "max_iter": 300}
    theirs = MLPClassifier(**options).fit(X, Y)
    with gpunn.sklearn.install():
        ours = MLPClassifier(**options).fit(X, Y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=0.5)
    assert learned(ours).keys() - {"_no_improvement_count"} == learned(theirs).keys()


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


def test_pickles_are_those_of_scikit_learn():
    with gpunn.sklearn.install():
        fitted = MLPClassifier(**SMALL).fit(X, Y)
        content = pickle.dumps(fitted)
        assert copy.deepcopy(fitted).predict(X).tolist() == fitted.predict(X).tolist()
    assert b"gpunn" not in content
    np.testing.assert_array_equal(pickle.loads(content).predict(X), fitted.predict(X))


@pytest.mark.parametrize("dumps", [ForkingPickler.dumps, reduction.dumps])
def test_what_is_sent_to_a_process_trains_by_gpunn_there(dumps, monkeypatch):
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
    """An estimator with fewer parameters than its base."""

    def __init__(self, units=8):
        self.units = units
        super().__init__((units,), max_iter=3, random_state=0)


class Own(MLPClassifier):
    """An estimator that overrides a step of the training."""

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


def test_what_gpunn_refuses_is_trained_by_scikit_learn():
    weights = np.ones(len(Y))
    weights[3] = -0.5
    options = {**SMALL, "random_state": None}
    theirs = MLPClassifier(**{**options, "random_state": np.random.RandomState(5)})
    theirs.fit(X, Y, sample_weight=weights)
    with gpunn.sklearn.install() as acceleration:
        ours = MLPClassifier(**{**options, "random_state": np.random.RandomState(5)})
        with pytest.warns(GpunnWarning, match=r"trained by scikit-learn, .* sample_weight\[3\]"):
            ours.fit(X, Y, sample_weight=weights)
        assert acceleration.fits == {"scikit-learn": 1}
        np.testing.assert_array_equal(ours.coefs_[0], theirs.coefs_[0])
        with pytest.raises(ValueError, match="Input X contains NaN"):
            ours.fit(X * np.nan, Y)


class Equal(MLPRegressor):
    """Estimators that are all equal and have no hash."""

    def __eq__(self, other):
        return isinstance(other, Equal)


def test_estimators_that_are_equal_learn_apart():
    """The twin of an estimator is deleted with it."""
    theirs = Equal(**SMALL).partial_fit(X, Y).partial_fit(X, Y)
    with gpunn.sklearn.install() as acceleration:
        ours, other = Equal(**SMALL), Equal(**SMALL)
        ours.partial_fit(X, Y)
        other.partial_fit(X, -Y)
        assert_same(ours.partial_fit(X, Y), theirs)
        assert len(acceleration._twins) == 2
        del ours, other
        gc.collect()
        assert acceleration._twins == {}


class Broken(MLPClassifier):
    """An estimator whose training fails."""

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
