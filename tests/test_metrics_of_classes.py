"""Compare metrics of classes with scikit-learn's, for all kinds of outputs and targets."""

import math
import warnings

import numpy as np
import pytest
from figures_of_metrics import figure_of, summary_of
from sklearn import metrics as reference

import gpunn
from gpunn import metrics
from gpunn.errors import DataError

COUNTS = {
    metrics.Precision: reference.precision_score,
    metrics.Recall: reference.recall_score,
    metrics.F1: reference.f1_score,
}
FORMS = ["one output", "two outputs", "two outputs, one-hot", "four outputs", "four, one-hot"]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(p):
    raised = np.exp(p - p.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def example(form, rows=300, seed=0, ties=False):
    g = np.random.default_rng(seed)
    outputs = {"one": 1, "two": 2, "fou": 4}[form[:3]]
    labels = g.integers(0, max(outputs, 2), rows)
    p = 2 * g.standard_normal((rows, outputs))
    p[np.arange(rows), labels if outputs > 1 else 0] += 1.5 if outputs > 1 else 1.5 * labels
    if ties:
        p = np.round(p)
    w = g.random(rows) + 0.1
    w[::7] = 0
    if outputs == 1:
        return p, labels[:, None].astype(float), labels, w
    return p, np.eye(outputs)[labels] if "hot" in form else labels, labels, w


def probabilities(p):
    return sigmoid(p[:, 0]) if p.shape[1] == 1 else softmax(p)


def guesses(p, threshold=0.0):
    if p.shape[1] > 2:
        return p.argmax(axis=1)
    return ((p[:, 0] if p.shape[1] == 1 else p[:, 1] - p[:, 0]) > threshold).astype(int)


@pytest.mark.parametrize("cls", COUNTS)
@pytest.mark.parametrize("average", ["binary", "macro", "micro"])
@pytest.mark.parametrize("form", FORMS)
def test_counts(host_backend, cls, average, form):
    p, t, labels, w = example(form)
    if p.shape[1] > 2 and average == "binary":
        with pytest.raises(DataError, match="4; use average='macro' or 'micro'"):
            cls().check_targets(t, 4)
        return
    metric = cls(average)
    metric.check_targets(t, p.shape[1])
    expected = COUNTS[cls](labels, guesses(p), average=average, sample_weight=w)
    assert figure_of(host_backend, metric, p, t, w) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cls", COUNTS)
@pytest.mark.parametrize("form", ["one output", "two outputs"])
def test_a_threshold(host_backend, cls, form):
    p, t, labels, w = example(form)
    expected = COUNTS[cls](labels, guesses(p, 1.25), sample_weight=w)
    metric = cls(threshold=1.25)
    assert figure_of(host_backend, metric, p, t, w) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(DataError, match="set threshold to 0"):
        cls("macro", threshold=1.25).check_targets(np.arange(4), 4)


@pytest.mark.parametrize("cls", COUNTS)
@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_classes_that_are_missing(host_backend, cls, zero_division, average):
    # Class 0 is true but never predicted, class 1 predicted but never true, class 3 neither.
    labels, guess = np.array([0, 0, 2, 2, 2]), np.array([1, 1, 2, 2, 1])
    p, w = np.eye(4)[guess], np.ones(5)
    expected = COUNTS[cls](labels, guess, average=average, zero_division=zero_division)
    metric = cls(average, zero_division=zero_division)
    assert figure_of(host_backend, metric, p, labels, w) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cls", COUNTS)
@pytest.mark.parametrize("zero_division", [0.0, 1.0])
def test_no_row_says_yes(host_backend, cls, zero_division):
    p, t, w = -np.ones((4, 1)), np.zeros((4, 1)), np.ones(4)
    metric = cls(zero_division=zero_division)
    assert figure_of(host_backend, metric, p, t, w) == zero_division


@pytest.mark.parametrize("form", FORMS)
def test_scores_of_probabilities(host_backend, form):
    p, t, labels, w = example(form)
    chances = probabilities(p)
    expected = reference.log_loss(labels, chances, sample_weight=w)
    assert figure_of(host_backend, metrics.LogLoss(), p, t, w) == pytest.approx(expected, rel=1e-12)
    actual = figure_of(host_backend, metrics.BrierScore(), p, t, w)
    if p.shape[1] <= 2:
        chances = chances if chances.ndim == 1 else chances[:, 1]
        expected = reference.brier_score_loss(labels, chances, sample_weight=w)
    else:
        expected = np.average(((chances - np.eye(4)[labels]) ** 2).sum(axis=1), weights=w)
    assert actual == pytest.approx(expected, rel=1e-12)


def exact_area(p, labels, w):
    if p.shape[1] == 1:
        return reference.roc_auc_score(labels, p[:, 0], sample_weight=w)
    if p.shape[1] == 2:
        return reference.roc_auc_score(labels, p[:, 1] - p[:, 0], sample_weight=w)
    return reference.roc_auc_score(labels, softmax(p), multi_class="ovr", sample_weight=w)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.full) for n in (1, 2))])
@pytest.mark.parametrize("form", FORMS)
def test_auc_is_exact_within_its_bound(host_backend, form, seed, ties):
    p, t, labels, w = example(form, 600, seed, ties)
    metric = metrics.AUC()
    summary = summary_of(host_backend, metric, p, t, w)
    error = abs(metric.result(summary, 0.0) - exact_area(p, labels, w))
    bound = metric.error_bound(summary)
    assert error <= bound + 1e-12
    if not ties:
        assert bound < 2e-3
    elif p.shape[1] == 1:
        assert error < 1e-12  # tied scores share a bin and count one half


def test_auc_of_a_coarse_grid_keeps_its_bound(host_backend):
    p, t, labels, w = example("one output", 2000)
    exact = exact_area(p, labels, w)
    errors = []
    for bins in (4, 16, 100, 1000):
        metric = metrics.AUC(bins)
        summary = summary_of(host_backend, metric, p, t, w)
        assert len(summary) == 2 * math.ceil(math.sqrt(bins)) ** 2
        errors.append(abs(metric.result(summary, 0.0) - exact))
        assert errors[-1] <= metric.error_bound(summary)
    assert errors[0] > 0.05 > errors[-1]


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3])
def test_auc_of_scores_of_any_size(host_backend, scale):
    p, t, labels, w = example("one output", 600)
    metric = metrics.AUC()
    summary = summary_of(host_backend, metric, scale * p, t, w)
    error = abs(metric.result(summary, 0.0) - exact_area(p, labels, w))
    assert error <= metric.error_bound(summary)
    if scale >= 1e-3:
        assert metric.error_bound(summary) < 0.02


def test_auc_of_a_sure_network_in_float32(host_backend):
    """If softmax is 1 in float32, the odds still distinguish rows."""
    p = np.array([[30, 0, 0], [40, 0, 0], [35, 0, 0], [0, 20, 0], [0, 0, 20]], "float32")
    t, w = np.array([0, 0, 1, 1, 2]), np.ones(5, "float32")
    expected = (1 - 1 / 6 + (3 + 1) / 6 + 1) / 3
    assert figure_of(host_backend, metrics.AUC(), p, t, w) == pytest.approx(expected, abs=1e-6)


def test_auc_without_one_of_the_classes(host_backend):
    w = np.ones(6)
    p, t = np.arange(6.0)[:, None], np.zeros((6, 1))
    assert math.isnan(figure_of(host_backend, metrics.AUC(), p, t, w))
    assert math.isnan(metrics.AUC().error_bound(summary_of(host_backend, metrics.AUC(), p, t, w)))
    g = np.random.default_rng(0)
    p, labels = g.standard_normal((6, 4)), np.array([0, 0, 1, 1, 3, 3])
    areas = [
        reference.roc_auc_score(labels == c, np.log(softmax(p)[:, c] / (1 - softmax(p)[:, c])))
        for c in (0, 1, 3)
    ]
    actual = figure_of(host_backend, metrics.AUC(), p, labels, w)
    assert actual == pytest.approx(np.mean(areas), abs=1e-12)


def test_auc_of_non_finite_scores(host_backend):
    p = np.array([[np.inf], [-np.inf], [1e30], [-1e30], [0.0], [-1.0]])
    t, w = np.array([[1.0], [0], [1], [0], [1], [0]]), np.ones(6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figure_of(host_backend, metrics.AUC(), p, t, w) == 1
    p = np.array([[np.inf, 0.0, 0.0], [0.0, 3.0, 0.0]])
    with np.errstate(invalid="ignore"):
        figure_of(host_backend, metrics.AUC(), p, np.array([0, 1]), np.ones(2))


@pytest.mark.parametrize(
    "metric",
    [metrics.AUC(), metrics.F1("macro"), metrics.LogLoss(), metrics.BrierScore()],
    ids=lambda m: m.name,
)
@pytest.mark.parametrize(
    ("targets", "outputs", "message"),
    [
        (np.array([[0.0], [2.0]]), 1, r"needs 0 for no and 1 for yes; row 1 of y is \[2.0\]"),
        (np.array([[1.0, 1, 0]]), 3, r"needs one class per row.*row 0 of y is \[1.0, 1.0, 0.0\]"),
        (np.array([[1.5, -0.5, 0]]), 3, "needs one class per row"),
    ],
)
def test_refused_targets(metric, targets, outputs, message):
    with pytest.raises(DataError, match=f"metric {metric.name!r} {message}"):
        metric.check_targets(targets, outputs)


@pytest.mark.parametrize("outputs", [1, 3])
def test_training_and_stopping_by_them(host_backend, outputs):
    """For every way to record the step, metrics are computed from the network's predictions."""
    g = np.random.default_rng(0)
    X = g.standard_normal((300, 5)).astype("float32")
    labels = (X[:, :1] + g.standard_normal((300, 1)) > 0).astype(int)[:, 0]
    labels = labels if outputs == 1 else labels + (X[:, 1] > 1)
    names = [
        *("auc", "log_loss", "brier_score"),
        *({"name": name, "average": "macro"} for name in ("precision", "recall", "f1")),
    ]
    model = gpunn.Sequential(
        [gpunn.layers.Dense(16, "relu"), gpunn.layers.Dense(outputs)], (5,), host_backend, seed=0
    )
    loss = "binary_cross_entropy" if outputs == 1 else "softmax_cross_entropy"
    trainer = gpunn.Trainer(model, loss, "adam", names, log_every=3)
    stopping = gpunn.callbacks.EarlyStopping("val_auc", patience=3)
    history = trainer.fit(
        X, labels, epochs=8, validation_split=0.3, callbacks=[stopping], progress=False
    )
    assert history.best_epoch == 1 + int(np.argmax(history["val_auc"]))
    assert 0.5 < history["auc"][-1] <= 1
    actual = trainer.evaluate(X, labels, batch_size=64)
    p = model.predict(X).astype(np.float64)
    ones = np.ones(300)
    assert actual["auc"] == pytest.approx(exact_area(p, labels, ones), abs=2e-3)
    assert actual["log_loss"] == pytest.approx(actual["loss"], rel=1e-5)
    for cls, function in COUNTS.items():
        expected = function(labels, guesses(p), average="macro")
        assert actual[cls.name] == pytest.approx(expected, rel=1e-6)


def test_a_nan_metric_survives_a_checkpoint(tmp_path):
    X = np.random.default_rng(0).standard_normal((20, 3)).astype("float32")
    y = np.arange(20) % 2

    def trainer():
        model = gpunn.Sequential([gpunn.layers.Dense(1)], (3,), "numpy", seed=0)
        return gpunn.Trainer(model, "binary_cross_entropy", "adam", ["auc"])

    first = trainer()
    first.fit(X, y, epochs=2, validation_data=(X[::2], y[::2]), progress=False)
    assert np.isnan(first.history["val_auc"]).all()
    first.save_checkpoint(tmp_path / "c.safetensors")
    second = trainer()
    second.load_checkpoint(tmp_path / "c.safetensors")
    assert np.isnan(second.history["val_auc"]).all()
    assert second.history["auc"] == first.history["auc"]
