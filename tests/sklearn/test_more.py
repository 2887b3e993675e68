"""Features of the estimators that scikit-learn's estimators don't have."""

import io

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_iris, make_multilabel_classification, make_regression
from sklearn.preprocessing import StandardScaler

import gpunn
from gpunn import activations, losses, optimizers, schedules
from gpunn.callbacks import EarlyStopping
from gpunn.configurable import known
from gpunn.errors import GpunnWarning
from gpunn.sklearn import MLPClassifier, MLPRegressor

X, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
NAMES = np.array(["setosa", "versicolor", "virginica"])[y]
FAST = {"hidden_layer_sizes": (10,), "max_iter": 40, "learning_rate_init": 0.02, "random_state": 0}
BUILT_IN = [
    n for n, c in known(activations.Activation).items() if c.__module__.startswith("gpunn.")
]


def same(first, second, tolerance=1e-10):
    np.testing.assert_allclose(first.loss_curve_, second.loss_curve_, tolerance, tolerance)
    for a, b in zip(first.coefs_, second.coefs_, strict=True):
        np.testing.assert_allclose(a, b, tolerance, tolerance)


INPUTS, LABELS = make_multilabel_classification(60, n_classes=3, random_state=0)
LABEL_WEIGHTS = [{0: 1.0, 1: 3.0}, {0: 2.0, 1: 1.0}, {0: 1.0, 1: 1.0}]
ADAMW = optimizers.AdamW(0.02)


SMOOTH = {"label_smoothing": 0.1}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"activation": {"name": "leaky_relu", "slope": 0.2}}, activations.LeakyReLU(0.2)),
        ({"activation": "logistic"}, "sigmoid"),
        ({"optimizer": "adamw"}, ADAMW),
        ({"optimizer": {"name": "adamw", "learning_rate": 0.02}}, ADAMW),
        ({"loss": losses.SoftmaxCrossEntropy(0.1)}, SMOOTH),
        ({"loss": {"name": "softmax_cross_entropy", **SMOOTH}}, SMOOTH),
        ({"max_norm": 1e9}, {}),
    ],
    ids=str,
)
def test_two_ways_to_say_the_same(first, second):
    second = second if isinstance(second, dict) else dict.fromkeys(first, second)
    same(MLPClassifier(**first, **FAST).fit(X, y), MLPClassifier(**second, **FAST).fit(X, y))
    assert ADAMW.l2_penalty == 0.0  # it is copied


@pytest.mark.parametrize(
    ("kind", "inputs", "targets"),
    [(MLPClassifier, INPUTS, LABELS), (MLPRegressor, X, np.eye(3)[y])],
)
def test_several_targets_may_be_sparse(kind, inputs, targets):
    first = kind(**FAST).fit(inputs, scipy.sparse.csr_array(targets))
    same(first, kind(**FAST).fit(inputs, targets))


@pytest.mark.parametrize(
    ("options", "minimum"),
    [
        *(({"activation": name}, 0.85) for name in BUILT_IN),
        ({"solver": "lbfgs", "layer_norm": True}, 0.95),
        ({"optimizer": "sgd", "learning_rate_init": 0.5, "alpha": 1e-3}, 0.9),
        ({"optimizer": "rmsprop", "alpha": 1e-3}, 0.9),
        ({"optimizer": "lion", "alpha": 1e-3}, 0.9),
    ],
    ids=str,
)
def test_classes_are_learned(options, minimum):
    assert MLPClassifier(**{**FAST, **options}).fit(X, y).score(X, y) > minimum


@pytest.mark.parametrize("norm", ["batch_norm", "layer_norm"])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_normalization(kind, norm):
    estimator = kind(**{norm: True}, **{**FAST, "max_iter": 100}).fit(X, y)
    assert estimator.score(X, y) > 0.9
    arrays = estimator.normalization_
    assert {name.rpartition(".")[0] for name in arrays} == {f"{norm}_1"}
    assert all(type(array) is np.ndarray for array in arrays.values())
    changed = {name: 0 * array for name, array in arrays.items()}
    before, estimator.normalization_ = estimator.predict(X), changed
    assert not np.array_equal(estimator.predict(X), before)


def test_dropout_is_only_for_training():
    classifier = MLPClassifier(dropout=0.5, **FAST).fit(X, y)
    np.testing.assert_array_equal(classifier.predict_proba(X), classifier.predict_proba(X))
    again = MLPClassifier(dropout=0.5, **FAST).fit(X, y)
    assert again.loss_curve_ == classifier.loss_curve_
    without = MLPClassifier(**FAST).fit(X, y)
    assert without.loss_curve_ != classifier.loss_curve_
    assert classifier.score(X, y) > 0.85


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_dtype(dtype, solver):
    other = "f8" if dtype == "float32" else "f4"
    classifier = MLPClassifier(dtype=dtype, solver=solver, **FAST).fit(X.astype(other), y)
    arrays = [*classifier.coefs_, *classifier.intercepts_]
    assert {array.dtype.name for array in arrays} == {dtype}
    assert classifier.predict_proba(X).dtype == dtype
    assert classifier.score(X, y) > 0.9


@pytest.mark.parametrize(
    "loss",
    [
        *("squared_error", "absolute_error", "huber", "quantile"),
        *(losses.Huber(0.5), losses.Quantile(0.5), losses.MeanSquaredError(), "log_cosh"),
        {"name": "huber", "delta": 2.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_regression_losses(loss, solver):
    regressor = MLPRegressor(loss, solver=solver, **FAST).fit(X, X @ [1.0, -1.0, 0.5, 2.0])
    assert regressor.out_activation_ == "identity"
    assert regressor.score(X, X @ [1.0, -1.0, 0.5, 2.0]) > 0.8


def test_a_quantile_is_one():
    random = np.random.default_rng(0)
    inputs = random.uniform(size=(600, 1))
    targets = random.normal(size=600)
    options = {"hidden_layer_sizes": (4,), "learning_rate_init": 0.05, "max_iter": 60}
    for q in (0.1, 0.8):
        regressor = MLPRegressor(losses.Quantile(q), random_state=0, **options)
        below = np.mean(targets < regressor.fit(inputs, targets).predict(inputs))
        assert below == pytest.approx(q, abs=0.06)


@pytest.mark.parametrize("loss", ["poisson", losses.Poisson()], ids=str)
def test_poisson_predicts_rates(loss):
    counts = np.random.default_rng(0).poisson(np.exp(X[:, 0]))
    regressor = MLPRegressor(loss, **FAST).fit(X, counts)
    assert regressor.out_activation_ == "exp"
    assert regressor.predict(X).min() > 0
    assert regressor.score(X, counts) > 0.3
    with pytest.raises(ValueError, match="counts >= 0"):
        MLPRegressor(loss, **FAST).fit(X, -counts)


@pytest.mark.parametrize("loss", [losses.Gamma(), losses.Tweedie()], ids=str)
def test_means_are_predicted_from_their_logarithms(loss):
    means = np.exp(X[:, 0])
    predictions = MLPRegressor(loss, **FAST).fit(X, means).predict(X)
    assert predictions.min() > 0
    assert np.corrcoef(np.log(predictions), X[:, 0])[0, 1] > 0.8


@pytest.mark.parametrize("classes", [2, 3])
def test_label_smoothing(classes):
    rows = y < classes
    certain = MLPClassifier(**FAST).fit(X[rows], y[rows]).predict_proba(X[rows]).max(axis=1)
    smooth = MLPClassifier(label_smoothing=0.3, **FAST).fit(X[rows], y[rows])
    assert smooth.score(X[rows], y[rows]) > 0.9
    assert smooth.predict_proba(X[rows]).max(axis=1).mean() < certain.mean() - 0.05


@pytest.mark.parametrize("weights", ["balanced", {"setosa": 5.0, "virginica": 0.25}], ids=str)
def test_class_weights_are_sample_weights(weights):
    rows = np.r_[0:10, 50:90, 100:150]
    each = {"setosa": 100 / 30, "versicolor": 100 / 120, "virginica": 100 / 150}
    if weights != "balanced":
        each = {"versicolor": 1.0, **weights}
    given = np.array([each[name] for name in NAMES[rows]])
    first = MLPClassifier(class_weight=weights, **FAST).fit(X[rows], NAMES[rows])
    second = MLPClassifier(**FAST).fit(X[rows], NAMES[rows], given)
    same(first, second)


def test_balance_counts_sample_weights():
    repeats = np.random.default_rng(0).integers(1, 4, len(X))
    full = {**FAST, "batch_size": 150}
    weighted = MLPClassifier(class_weight="balanced", **full).fit(X, y, repeats)
    repeated = MLPClassifier(class_weight="balanced", **{**full, "batch_size": repeats.sum()})
    same(weighted, repeated.fit(np.repeat(X, repeats, axis=0), np.repeat(y, repeats)), 1e-8)


def test_classes_of_several_labels_are_their_numbers():
    classifier = MLPClassifier(**FAST)
    with pytest.raises(
        ValueError, match=r"expected \[0 1 2\], since each column of y is a label; got \[0, 1\]"
    ):
        classifier.partial_fit(INPUTS, LABELS, classes=[0, 1])
    for _ in range(2):
        classifier.partial_fit(INPUTS, LABELS, classes=[0, 1, 2])
    assert classifier.predict(INPUTS).shape == (60, 3)


def test_class_weights_of_several_labels():
    given = np.array([3.0**a * 2.0 ** (1 - b) for a, b, _ in LABELS])
    first = MLPClassifier(class_weight=LABEL_WEIGHTS, **FAST).fit(INPUTS, LABELS)
    same(first, MLPClassifier(**FAST).fit(INPUTS, LABELS, given))


def test_balanced_partial_fit_is_refused():
    with pytest.raises(ValueError, match="not supported for partial_fit"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


@pytest.mark.parametrize("options", [{}, {"solver": "sgd"}, {"solver": "lbfgs"}], ids=str)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_weight_of_k_is_k_rows(kind, options):
    """The mean uses full batches, in training and validation."""
    random = np.random.default_rng(1)
    repeats, repeats_val = random.integers(0, 4, 100), random.integers(1, 4, 50)
    order = random.permutation(150)
    X_train, y_train = X[order[:100]], y[order[:100]]
    X_val, y_val = X[order[100:]], y[order[100:]]
    stochastic = options.get("solver") != "lbfgs"
    options = {**FAST, "max_iter": 30, "alpha": 0.1, "tol": 1e-6, **options}
    weighted = kind(**options, batch_size=100 if stochastic else "auto")
    rows = int(repeats.sum())
    repeated = kind(**options, batch_size=rows if stochastic else "auto")
    if not stochastic:
        weighted.fit(X_train, y_train, repeats)
        repeated.fit(np.repeat(X_train, repeats, axis=0), np.repeat(y_train, repeats))
        assert weighted.loss_ == pytest.approx(repeated.loss_, rel=1e-6)
        np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], 1e-3, 1e-3)
        return
    for estimator in (weighted, repeated):
        estimator.set_params(early_stopping=True, n_iter_no_change=30)
    weighted.fit(X_train, y_train, repeats, X_val=X_val, y_val=y_val, sample_weight_val=repeats_val)
    repeated.fit(
        *(np.repeat(X_train, repeats, axis=0), np.repeat(y_train, repeats)),
        X_val=np.repeat(X_val, repeats_val, axis=0),
        y_val=np.repeat(y_val, repeats_val),
    )
    same(weighted, repeated, 1e-8)
    for name in ("val_loss", "val_score"):
        np.testing.assert_allclose(weighted.history_[name], repeated.history_[name], 1e-8)
    assert weighted.best_validation_score_ == pytest.approx(repeated.best_validation_score_)


class Margin(losses.Loss):
    """The squared hinge loss, whose predictions are margins instead of logits."""

    name = "margin"

    def values(self, xp, predictions, targets):
        return xp.mean(xp.maximum(1 - (2 * targets - 1) * predictions, 0 * targets) ** 2, axis=1)


def test_a_custom_loss_of_classes_need_not_have_logits():
    two = y > 0
    assert MLPClassifier(loss=Margin(), **FAST).fit(X, two).score(X, two) > 0.95


FIRST = np.eye(150)[0]


@pytest.mark.parametrize(
    ("kind", "parameters", "given", "message"),
    [
        (MLPRegressor, {"dtype": "float32"}, {"X": 1e60 * X}, "too large for float32"),
        *(
            (MLPClassifier, {"loss": loss}, {"y": labels}, f"such as '{name}' .*; {has}")
            for name, labels in (("softmax_cross_entropy", y), ("binary_cross_entropy", y % 2))
            for loss, has in {"mean_squared_error": "Mean.* 'identity'", "poisson": "Poi"}.items()
        ),
        (MLPClassifier, {"loss": "binary_focal"}, {}, "'softmax_focal', for the .*0, 1, 2"),
        (MLPClassifier, {"loss": "softmax_focal"}, {"y": y % 2}, "'binary_focal', for the classes"),
        (MLPRegressor, {"loss": "hinge"}, {"y": y % 2}, "Hinge expects logits of classes"),
        (MLPRegressor, {}, {"sample_weight": -np.ones(150)}, "expected numbers >= 0"),
        (
            *(MLPRegressor, {"early_stopping": True}, {"sample_weight": FIRST}),
            "all validation rows have a weight of zero",
        ),
        (
            *(MLPClassifier, {}, {"X": X[:100], "y": y[:100], "X_val": X, "y_val": y}),
            "`y_val` has classes not in",
        ),
        (
            *(MLPRegressor, {}, {"y": X[:, :2], "X_val": X, "y_val": X[:, :3]}),
            r"y_val: .* must have shape \(rows, 2\); got \(150, 3\)",
        ),
        *(
            (MLPClassifier, {}, {name: X if name == "X_val" else y}, "must be given together")
            for name in ("X_val", "y_val", "sample_weight_val")
        ),
    ],
)
def test_data_that_cannot_be_fitted(kind, parameters, given, message):
    with pytest.raises(ValueError, match=message):
        kind(**parameters, **FAST).fit(**{"X": X, "y": y, **given})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("incremental", [False, True])
def test_an_optimizer_that_cannot_change_weights_any_more_is_warned_of(incremental):
    """Squares of gradients overflow, so updates are 0, and weights and losses stay finite."""
    inputs = X.astype("float32")
    inputs[3, 1] = 1e15
    regressor = MLPRegressor(**{**FAST, "max_iter": 2}, backend="numpy")
    with pytest.warns(GpunnWarning, match=r"diverged.*the state 'square' of 'dense_1.weights'"):
        (regressor.partial_fit if incremental else regressor.fit)(inputs, X[:, 0])


def test_schedules():
    classifier = MLPClassifier(schedule=schedules.Cosine(0.02), **FAST).fit(X, y)
    rates = classifier.history_["learning_rate"]
    assert rates[0] > 0.0199
    assert rates[-1] < 0.001 or classifier.n_iter_ < 40
    by_optimizer = MLPClassifier(optimizer=optimizers.SGD(1.0), schedule="one_cycle", **FAST)
    assert max(by_optimizer.fit(X, y).history_["learning_rate"]) < 0.021


def test_schedules_by_name_start_with_the_learning_rate():
    constant = MLPClassifier(schedule="constant", **FAST).fit(X, y)
    assert set(constant.history_["learning_rate"]) == {0.02}
    for schedule in ("warm_up", {"name": "warm_up", "epochs": 2}):
        rates = MLPClassifier(schedule=schedule, **FAST).fit(X, y).history_["learning_rate"]
        assert rates[0] < rates[3] == 0.02
    own = MLPClassifier(schedule={"name": "cosine", "rate": 0.1}, **FAST).fit(X, y)
    assert 0.09 < own.history_["learning_rate"][0] < 0.1


def test_schedules_may_watch_the_validation_rows():
    schedule = schedules.ReduceOnPlateau(0.02, "val_loss", patience=1, min_delta=10.0)
    classifier = MLPClassifier(schedule=schedule, **FAST)
    classifier.fit(X, y, X_val=X, y_val=y)
    rates = classifier.history_["learning_rate"]
    assert rates[3] < rates[0]
    assert schedule.at(np.zeros(1), 1) == 0.02  # it is copied


def test_partial_fit_follows_a_schedule_over_max_iter():
    classifier = MLPClassifier(schedule=schedules.Cosine(0.02), **FAST)
    for _ in range(20):
        classifier.partial_fit(X, y, classes=[0, 1, 2])
    assert classifier.history_["learning_rate"][-1] == pytest.approx(0.01, rel=0.05)


def test_clipping():
    clipped = MLPClassifier(max_norm=1e-9, solver="sgd", alpha=10.0, **FAST).fit(X, y)
    assert np.ptp(clipped.loss_curve_) < 1e-6


def test_given_validation_rows():
    classifier = MLPClassifier(**FAST)
    classifier.fit(X[::2], NAMES[::2], X_val=X[1::2], y_val=NAMES[1::2])
    history = classifier.history_
    assert set(history) >= {"epoch", "loss", "val_loss", "val_score", "learning_rate", "seconds"}
    assert history["loss"] == classifier.loss_curve_
    assert history["val_score"][-1] == classifier.score(X[1::2], NAMES[1::2])
    probabilities = classifier.predict_proba(X[1::2])
    expected = -np.log(probabilities[np.arange(75), y[1::2]]).mean()
    assert history["val_loss"][-1] == pytest.approx(expected)
    assert classifier.validation_scores_ is None


def test_early_stopping_on_given_rows():
    inputs, targets = make_regression(80, 5, noise=30.0, random_state=0)
    regressor = MLPRegressor(early_stopping=True, learning_rate_init=0.05, random_state=0)
    regressor.fit(inputs[:50], targets[:50], X_val=inputs[50:], y_val=targets[50:])
    assert regressor.n_iter_ < 200
    best = max(regressor.validation_scores_)
    assert regressor.best_validation_score_ == best
    assert regressor.validation_scores_[-1] < best
    assert regressor.score(inputs[50:], targets[50:]) == pytest.approx(best)


def test_the_optimizers_state_is_restored_with_the_best_weights():
    options = {**FAST, "max_iter": 60, "n_iter_no_change": 5, "learning_rate_init": 0.3}
    stopped = MLPClassifier(early_stopping=True, **options)
    stopped.fit(X, y, X_val=X, y_val=y)
    best = int(np.argmax(stopped.validation_scores_)) + 1
    assert best < stopped.n_iter_
    reference = MLPClassifier(**{**options, "max_iter": best, "n_iter_no_change": 99})
    reference.fit(X, y, X_val=X, y_val=y)
    for estimator in (stopped.set_params(early_stopping=False), reference):
        for _ in range(2):
            estimator.partial_fit(X, y)
    for got, expected in zip(stopped.coefs_, reference.coefs_, strict=True):
        np.testing.assert_allclose(got, expected, 1e-9)


def test_a_warm_start_without_improvement_restores_its_start():
    options = {**FAST, "max_iter": 60, "n_iter_no_change": 3, "learning_rate_init": 0.1}
    classifier = MLPClassifier(early_stopping=True, warm_start=True, **options)
    classifier.fit(X, y, X_val=X, y_val=y)
    best = [coef.copy() for coef in classifier.coefs_]
    classifier.set_params(learning_rate_init=10.0).fit(X, y, X_val=X, y_val=y)
    assert classifier.score(X, y) == classifier.best_validation_score_
    for got, expected in zip(classifier.coefs_, best, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_warm_start_may_turn_early_stopping_on_and_off():
    classifier = MLPClassifier(warm_start=True, **FAST).fit(X, y)
    for early_stopping in (True, False):
        before = classifier.t_
        classifier.set_params(early_stopping=early_stopping).fit(X, y)
        assert classifier.t_ > before
        assert (classifier.validation_scores_ is None) != early_stopping


def test_callbacks(tmp_path):
    stopping = gpunn.callbacks.EarlyStopping("val_loss", patience=2)
    log = tmp_path / "log.csv"
    classifier = MLPClassifier(
        callbacks=[stopping, {"name": "csv_log", "path": str(log)}],
        **{**FAST, "learning_rate_init": 0.5, "max_iter": 100, "n_iter_no_change": 100},
    )
    classifier.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    assert classifier.n_iter_ < 100
    assert len(log.read_text().splitlines()) == classifier.n_iter_ + 1
    best = int(np.argmin(classifier.history_["val_loss"]))
    assert classifier.score(X[1::2], y[1::2]) == classifier.history_["val_score"][best]
    assert stopping.best_epoch == 0  # it is copied
    with pytest.raises(ValueError, match="no value 'val_loss'"):
        classifier.fit(X, y)


def test_progress_is_shown_on_standard_error(monkeypatch, capsys):
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", shown)
    MLPClassifier(progress=True, **{**FAST, "max_iter": 2}).fit(X, y)
    assert "Epoch 2/2" in shown.getvalue()
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": 3}, "The 'backend' parameter of MLPClassifier must be None, a name"),
        ({"dtype": "float16"}, "a str among {'float32', 'float64'}. Got 'float16'"),
        ({"dropout": 1.0}, "a float in the range [0.0, 1.0)"),
        ({"activation": "rleu"}, "The 'activation' parameter of MLPClassifier must be"),
        ({"activation": {"name": "rleu"}}, "The 'activation' parameter"),
        ({"optimizer": "adm"}, "The 'optimizer' parameter"),
        ({"schedule": 0.1}, "The 'schedule' parameter"),
        ({"max_norm": 0}, "a float in the range (0.0, inf)"),
        ({"callbacks": "early_stopping"}, "a list of callbacks"),
        ({"class_weight": "even"}, "a str among {'balanced'}"),
        ({"loss": "hing"}, "The 'loss' parameter of MLPClassifier must be"),
        ({"label_smoothing": 1}, "The 'label_smoothing' parameter"),
        ({"batch_norm": True, "layer_norm": True}, "set only one"),
        ({"label_smoothing": 0.1, "loss": losses.SoftmaxCrossEntropy()}, "label_smoothing: needs"),
        ({"hidden_layer_sizes": (2.5,)}, "integers"),
        ({"hidden_layer_sizes": (4, "a")}, "integers, got [4, 'a']"),
        ({"hidden_layer_sizes": True}, "integers, got [True]"),
        ({"hidden_layer_sizes": [[3]]}, "integers"),
        ({"hidden_layer_sizes": float("inf")}, "hidden_layer_sizes"),
        ({"solver": "lbfgs", "dropout": 0.1}, "dropout: not supported by solver='lbfgs'"),
        ({"solver": "lbfgs", "optimizer": "sgd", "max_norm": 1.0}, "optimizer, max_norm: not"),
        ({"backend": "cupi"}, "did you mean"),
    ],
    ids=str,
)
def test_impossible_parameters(options, message):
    with pytest.raises(ValueError, match=r".") as caught:
        MLPClassifier(**options).fit(X, y)
    assert message in str(caught.value)
    assert isinstance(caught.value, gpunn.errors.GpunnError)


def test_warm_starts_need_the_same_shape():
    classifier = MLPClassifier(warm_start=True, **FAST).fit(X, y)
    with pytest.raises(ValueError, match=r"continue with layers of \(4, 10, 3\) units"):
        classifier.set_params(hidden_layer_sizes=(5,)).fit(X, y)


def test_lbfgs_has_no_partial_fit():
    for kind in (MLPClassifier, MLPRegressor):
        assert hasattr(kind(), "partial_fit")
        assert not hasattr(kind(solver="lbfgs"), "partial_fit")


def test_backends_are_named(monkeypatch):
    classifier = MLPClassifier(backend="numpy", **FAST).fit(X, y)
    assert classifier.backend_ == "numpy"
    assert classifier.device_.startswith("cpu")
    monkeypatch.setenv("GPUNN_BACKEND", "nowhere")
    with pytest.raises(ValueError, match="GPUNN_BACKEND"):
        MLPClassifier(**FAST).fit(X, y)


def test_sparse_rows_in_pieces(monkeypatch):
    """Treat the matrix as too large to become dense as a whole."""
    inputs = scipy.sparse.random_array((500, 30), density=0.2, rng=0, format="csr")
    targets = inputs.sum(axis=1)
    whole = MLPRegressor(**FAST).fit(inputs, targets)
    monkeypatch.setattr("gpunn.sklearn.inputs.STREAM_BYTES", 1000)
    monkeypatch.setattr("gpunn.data.batches.STREAM_BYTES", 100_000)
    same(whole, MLPRegressor(**FAST).fit(inputs, targets), 1e-12)
    np.testing.assert_allclose(whole.predict(inputs), whole.predict(inputs.toarray()))
    lbfgs = {"solver": "lbfgs", **FAST, "max_iter": 5}
    pieces = MLPRegressor(**lbfgs).fit(inputs, targets)
    monkeypatch.undo()
    monkeypatch.setenv("GPUNN_BACKEND", "numpy")
    assert MLPRegressor(**lbfgs).fit(inputs, targets).loss_ == pytest.approx(pieces.loss_)


def test_larger_scores_are_better():
    stopping = EarlyStopping("val_score", patience=2)
    classifier = MLPClassifier((8,), max_iter=40, callbacks=[stopping], random_state=0)
    classifier.fit(X[::2], NAMES[::2], X_val=X[1::2], y_val=NAMES[1::2])
    scores = classifier.history_["val_score"]
    assert scores.index(max(scores)) + 1 == classifier.history_.best_epoch == len(scores) - 2
