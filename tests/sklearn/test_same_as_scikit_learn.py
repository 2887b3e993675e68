"""Compare with scikit-learn's estimators, from the same `random_state`.

Initial weights, shuffles and splits are bitwise identical, so results differ only by rounding.
"""

import itertools
import pickle
import re
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network as reference
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning

from gpunn import sklearn as tested

DIGITS, LABELS = datasets.load_digits(return_X_y=True)
DIGITS, LABELS = DIGITS[:330] / 16, LABELS[:330]
NUMBERS, VALUES = datasets.make_regression(210, 8, n_targets=3, noise=1.0, random_state=0)
VALUES /= VALUES.std()

DATA = {
    "binary": ("MLPClassifier", DIGITS, LABELS % 2),
    "names": ("MLPClassifier", DIGITS, np.array(["even", "odd"])[LABELS % 2]),
    "multiclass": ("MLPClassifier", DIGITS, LABELS),
    "multilabel": ("MLPClassifier", DIGITS, np.stack([LABELS % 2, LABELS > 4], axis=1).astype(int)),
    "regression": ("MLPRegressor", NUMBERS, VALUES[:, 0]),
    "outputs": ("MLPRegressor", NUMBERS, VALUES),
}
SOLVERS = {
    "adam": {},
    "adam without shuffling": {"shuffle": False, "beta_1": 0.8, "epsilon": 1e-3},
    "deep": {"hidden_layer_sizes": (12, 7, 5), "activation": "tanh", "alpha": 1.0},
    "logistic": {"activation": "logistic", "learning_rate_init": 0.01},
    "linear": {"activation": "identity", "batch_size": 64},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5, "batch_size": 50},
    "descent": {"solver": "sgd", "momentum": 0, "shuffle": False, "learning_rate_init": 0.1},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.05,
        "tol": 0.05,
        "n_iter_no_change": 2,
        "max_iter": 60,
    },
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "validation_fraction": 0.3},
}


def pairs(solvers):
    """Return each kind of data with each solver; most of them are for the full run.

    The default run has each solver with a classifier and a regressor, and each kind of data.
    """
    return [
        # Four kinds of data are for classifiers, two for regressors.
        pytest.param(data, solver, marks=[] if n in (k % 4, 4 + k % 2) else pytest.mark.full)
        for (n, data), (k, solver) in itertools.product(enumerate(DATA), enumerate(solvers))
    ]


def both(kind, X, y, sample_weight=None, **options):
    options = {"hidden_layer_sizes": (20,), "max_iter": 15, "random_state": 3, **options}
    fitted, said = [], []
    for module in (reference, tested):
        estimator = getattr(module, kind)(**options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted.append(estimator.fit(X, y, sample_weight))
        said.append([(w.category, str(w.message)) for w in caught])
    assert said[0] == said[1]
    return fitted


def assert_same(reference, tested, tolerance=1e-9):
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(tested, name) == getattr(reference, name), name
    np.testing.assert_allclose(tested.loss_curve_, reference.loss_curve_, tolerance, tolerance)
    for name in ("loss_", "best_loss_", "validation_scores_", "best_validation_score_"):
        expected = getattr(reference, name)
        if expected is None:
            assert getattr(tested, name) is None, name
        else:
            np.testing.assert_allclose(getattr(tested, name), expected, tolerance, err_msg=name)
    assert_same_weights(reference, tested, tolerance)


def assert_same_weights(reference, tested, tolerance):
    for got, expected in itertools.chain(
        zip(tested.coefs_, reference.coefs_, strict=True),
        zip(tested.intercepts_, reference.intercepts_, strict=True),
    ):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, tolerance, tolerance)


@pytest.mark.parametrize(("data", "solver"), pairs(SOLVERS))
def test_stochastic_solvers_take_the_same_steps(data, solver):
    kind, X, y = DATA[data]
    them, us = both(kind, X, y, **SOLVERS[solver])
    assert_same(them, us)
    np.testing.assert_array_equal(us.predict(X), them.predict(X)) if "Class" in kind else None
    if kind == "MLPClassifier":
        np.testing.assert_array_equal(us.classes_, them.classes_)
        np.testing.assert_allclose(us.predict_proba(X), them.predict_proba(X), 1e-7)
        np.testing.assert_allclose(us.predict_log_proba(X), them.predict_log_proba(X), 1e-7, 1e-9)
    assert us.score(X, y) == pytest.approx(them.score(X, y), abs=1e-9)


def test_poisson():
    counts = np.round(np.exp(VALUES))
    for y in (counts[:, 0], counts):
        them, us = both("MLPRegressor", NUMBERS, y, loss="poisson")
        assert_same(them, us)
        np.testing.assert_allclose(us.predict(NUMBERS), them.predict(NUMBERS), 1e-9)


WEIGHTS = {
    "fractions": np.random.default_rng(0).random(330),
    "some of them large": np.random.default_rng(1).exponential(1, 330) ** 3,
    "some of them 0": np.random.default_rng(2).integers(0, 3, 330).astype(float),
}


@pytest.mark.parametrize(
    "weights", ["some of them 0", pytest.param("some of them large", marks=pytest.mark.full)]
)
@pytest.mark.parametrize(
    ("data", "solver"),
    pairs(["adam", "deep", "momentum", "invscaling", "adaptive", "early stopping"]),
)
def test_sample_weights_take_the_same_steps(data, solver, weights):
    """The loss of an epoch weights each batch by its number of rows, not by the sum of weights."""
    kind, X, y = DATA[data]
    options = {"batch_size": 70, **SOLVERS[solver], "learning_rate_init": 0.02}
    assert_same(*both(kind, X, y, WEIGHTS[weights][: len(X)], **options))


@pytest.mark.parametrize(
    ("load", "options"),
    [
        (datasets.load_breast_cancer, {"solver": "sgd", "learning_rate_init": 0.05}),
        (datasets.load_iris, {"solver": "sgd", "learning_rate": "adaptive", "batch_size": 16}),
        (datasets.load_diabetes, {"batch_size": 30, "early_stopping": True}),
    ],
)
def test_sample_weights_end_after_the_same_epoch(load, options):
    X, y = load(return_X_y=True)
    X, kind = (X - X.mean(0)) / X.std(0), "MLPClassifier"
    if load is datasets.load_diabetes:
        y, kind = y / y.std(), "MLPRegressor"
    weights = np.random.default_rng(5).exponential(1, len(X)) ** 2
    options = {"max_iter": 400, "tol": 1e-3, "learning_rate_init": 0.02, **options}
    them, us = both(kind, X, y, weights, **options)
    assert them.n_iter_ < 400
    assert_same(them, us)


def test_a_batch_without_weight_is_left_out_of_the_loss():
    weights = WEIGHTS["fractions"].copy()
    weights[110:220] = 0
    options = {"batch_size": 110, "shuffle": False, "solver": "sgd", "learning_rate_init": 1e-12}
    with pytest.raises(ZeroDivisionError):
        reference.MLPClassifier(**options).fit(DIGITS, LABELS, weights)
    _, us = both("MLPClassifier", DIGITS, LABELS, max_iter=1, **options)
    us.set_params(max_iter=1).fit(DIGITS, LABELS, weights)
    rest = np.r_[0:110, 220:330]
    _, expected = both("MLPClassifier", DIGITS[rest], LABELS[rest], weights[rest], **options)
    assert us.loss_curve_[0] == pytest.approx(expected.loss_curve_[0], rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"solver": "sgd", "learning_rate": "adaptive"}])
def test_weights_may_come_and_go_between_calls(options):
    made = [
        module.MLPClassifier((20,), random_state=0, batch_size=40, tol=0.5, n_iter_no_change=1)
        for module in (reference, tested)
    ]
    for part, weights in enumerate([None, WEIGHTS["fractions"], None, WEIGHTS["some of them 0"]]):
        rows = slice(80 * part, 80 * part + 80)
        for estimator in made:
            estimator.set_params(**options)
            chosen = None if weights is None else weights[rows]
            estimator.partial_fit(DIGITS[rows], LABELS[rows], chosen, classes=np.arange(10))
        assert_same(*made)
    for estimator in made:
        estimator.set_params(warm_start=True, max_iter=5)
        for weights in WEIGHTS.values():
            estimator.fit(DIGITS, LABELS, weights)
    assert_same(*made)


@pytest.mark.parametrize("data", DATA)
def test_lbfgs_agrees(data):
    """Rounding errors grow with each iteration, so only a few iterations are compared."""
    kind, X, y = DATA[data]
    options = {"solver": "lbfgs", "activation": "tanh", "alpha": 1e-2}
    them, us = both(kind, X, y, max_iter=12, **options)
    assert us.n_iter_ == them.n_iter_
    assert us.loss_ == pytest.approx(them.loss_, rel=1e-7)
    assert_same_weights(them, us, 1e-5)
    assert not hasattr(us, "loss_curve_")
    assert not hasattr(us, "best_loss_")
    assert us.t_ == them.t_ == 0


@pytest.mark.parametrize(
    "options", [{"max_fun": 5}, {"max_iter": 3}, {"max_iter": 4, "max_fun": 4}]
)
def test_lbfgs_says_why_it_ended(options):
    them, us = both("MLPRegressor", NUMBERS, VALUES[:, 0], solver="lbfgs", **options)
    assert us.n_iter_ == them.n_iter_


def test_lbfgs_converges_to_the_same_minimum():
    them, us = both(
        *("MLPRegressor", NUMBERS, VALUES[:, 0]),
        solver="lbfgs",
        activation="identity",
        hidden_layer_sizes=(2,),
        alpha=1.0,
        max_iter=1000,
        tol=1e-8,
    )
    np.testing.assert_allclose(us.predict(NUMBERS), them.predict(NUMBERS), 1e-4, 1e-4)
    assert us.loss_ == pytest.approx(them.loss_, rel=1e-9)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_float32(kind, solver):
    X, y = (DIGITS, LABELS) if kind == "MLPClassifier" else (NUMBERS, VALUES[:, 0])
    them, us = both(kind, X.astype("f4"), y, solver=solver, learning_rate_init=0.01)
    assert us.n_iter_ == them.n_iter_
    np.testing.assert_allclose(us.loss_curve_, them.loss_curve_, 1e-4)
    assert_same_weights(them, us, 1e-3)
    assert us.predict(X[:3].astype("f4")).dtype == them.predict(X[:3].astype("f4")).dtype


@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows(container, solver):
    X = container(DIGITS)
    them, us = both("MLPClassifier", X, LABELS, solver=solver, max_iter=5)
    assert_same_weights(them, us, 1e-6)
    np.testing.assert_array_equal(us.predict(X), us.predict(DIGITS))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1},
        {"early_stopping": True},
    ],
)
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_warm_start(kind, options):
    X, y = (DIGITS, LABELS) if kind == "MLPClassifier" else (NUMBERS, VALUES)
    made = [
        getattr(module, kind)(
            (20,) if kind == "MLPClassifier" else "squared_error",
            **{"max_iter": 4, "random_state": 0, "warm_start": True, **options},
        )
        for module in (reference, tested)
    ]
    for _ in range(3):
        for estimator in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                estimator.fit(X, y)
        assert_same(*made)


@pytest.mark.parametrize("copied", [False, True], ids=["live", "pickled"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd"},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1},
    ],
)
def test_partial_fit(options, copied):
    made = [
        module.MLPClassifier((10,), random_state=0, **options) for module in (reference, tested)
    ]
    for part in range(3):
        rows = slice(50 * part, 50 * part + 50)
        for estimator in made:
            estimator.partial_fit(DIGITS[rows], LABELS[rows], classes=np.arange(10))
        if copied:
            made = pickle.loads(pickle.dumps(made))
        assert_same(*made)
    assert made[1].n_iter_ == 1
    assert len(made[1].loss_curve_) == 3


def test_partial_fit_continues_fit():
    them, us = both("MLPRegressor", NUMBERS, VALUES)
    for estimator in (them, us):
        estimator.set_params(alpha=10.0)
        for _ in range(3):
            estimator.partial_fit(NUMBERS[:60], VALUES[:60])
    assert_same(them, us)


def test_a_single_class():
    them, us = both("MLPClassifier", DIGITS, np.ones(330, int))
    np.testing.assert_array_equal(us.predict(DIGITS), them.predict(DIGITS))


def test_verbose_prints_the_same(capsys):
    options = {"verbose": True, "n_iter_no_change": 1, "tol": 0.2, "learning_rate_init": 0.01}
    for more in (
        {"max_iter": 40},
        {"early_stopping": True},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 1e-4, "max_iter": 99},
    ):
        printed = []
        for module in (reference, tested):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                estimator = module.MLPClassifier((20,), random_state=0, **{**options, **more})
                estimator.fit(DIGITS, LABELS)
            printed.append(capsys.readouterr().out)
        assert printed[0]
        assert printed[1] == printed[0]


def refuse(module, kind, options, *data):
    with pytest.raises(ValueError, match=r".") as caught:
        getattr(module, kind)(**options).fit(*data)
    return str(caught.value).replace("numpy.bool_", "numpy.bool")


@pytest.mark.parametrize(
    "options",
    [
        *({"alpha": -1}, {"alpha": "a"}, {"batch_size": 0}, {"learning_rate_init": 0.0}),
        *({"power_t": -1}, {"max_iter": 0}, {"max_iter": 2.5}, {"shuffle": "yes"}),
        *({"tol": -1}, {"tol": float("nan")}, {"verbose": -1}, {"warm_start": 3}),
        *({"momentum": 2}, {"nesterovs_momentum": 0}, {"early_stopping": "a"}),
        *({"validation_fraction": 1}, {"beta_1": 1}, {"beta_2": -0.5}, {"epsilon": 0}),
        *({"n_iter_no_change": 0}, {"max_fun": 0}, {"random_state": -1}, {"random_state": "a"}),
        *({"solver": "what"}, {"learning_rate": "what"}, {"batch_size": "what"}),
        *({"hidden_layer_sizes": -1}, {"hidden_layer_sizes": (4, -1)}),
        {"early_stopping": True, "validation_fraction": 0.001},
        {"early_stopping": True, "validation_fraction": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_errors_have_the_same_words(kind, options):
    X, y = np.eye(10), np.arange(10) % 2
    expected = refuse(reference, kind, options, X, y)
    got = refuse(tested, kind, options, X, y)
    # Each process prints scikit-learn's options in a different order.
    words = [sorted(re.findall(r"[^\s{},]+", message)) for message in (got, expected)]
    assert words[0] == words[1]


FEW, HALVES = np.linspace(-1, 1, 60).reshape(20, 3), np.arange(20) % 2
BAD_DATA = {
    "X of text": (np.full((20, 3), "a"), HALVES, None),
    "X with NaN": (np.where(FEW > 0.9, np.nan, FEW), HALVES, None),
    "X without columns": (FEW[:, :0], HALVES, None),
    "X of three axes": (FEW[None], HALVES, None),
    "X of one axis": (FEW[:, 0], HALVES, None),
    "no rows": (FEW[:0], HALVES[:0], None),
    "too few y": (FEW, HALVES[:9], None),
    "no y": (FEW, None, None),
    "y with infinity": (FEW, np.where(HALVES, np.inf, 1.0), None),
    "weights of two axes": (FEW, HALVES, np.ones((20, 2))),
    "weights of zero": (FEW, HALVES, np.zeros(20)),
    "too few weights": (FEW, HALVES, np.ones(3)),
    "weights with NaN": (FEW, HALVES, np.full(20, np.nan)),
    "weights of text": (FEW, HALVES, np.full(20, "a")),
}


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_refused_in_the_same_words(case, kind):
    them, us = (
        refuse(module, kind, {"max_iter": 1}, *BAD_DATA[case]) for module in (reference, tested)
    )
    assert us == them


@pytest.mark.parametrize("options", [{"alpha": True}, {"batch_size": True}, {"max_iter": True}])
def test_booleans_count_as_numbers(options):
    them, us = both("MLPClassifier", FEW, HALVES, **options)
    assert_same(them, us)


def test_parameters_are_the_same_and_more():
    for kind in ("MLPClassifier", "MLPRegressor"):
        us, them = getattr(tested, kind)().get_params(), getattr(reference, kind)().get_params()
        assert {name: us[name] for name in them} == them
        assert repr(getattr(tested, kind)(alpha=1)) == f"{kind}(alpha=1)"
