import numpy as np
import pytest
from figures_of_metrics import figure_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunn import metrics
from gpunn.backends.numpy import NumpyBackend
from gpunn.configurable import known
from gpunn.errors import DataError
from gpunn.metrics import Metric

PARAMETERS = {name: {"average": "macro"} for name in ("precision", "recall", "f1")}
BUILTIN = [
    cls(**PARAMETERS.get(name, {}))
    for name, cls in known(Metric).items()
    if cls.__module__.startswith("gpunn.")
]


def mean_r2(p, t, w):
    figures = []
    for column, truth in zip(p.T, t.T, strict=True):
        mean = np.average(truth, weights=w)
        figures.append(1 - w @ (column - truth) ** 2 / (w @ (truth - mean) ** 2))
    return np.mean(figures)


# Definitions on whole columns; t contains labels for the first two.
FORMULAS = {
    "accuracy": lambda p, t, w: w @ (p.argmax(axis=1) == t) / w.sum(),
    "top_k_accuracy": lambda p, t, w: (
        w @ [label in np.argsort(-row)[:5] for row, label in zip(p, t, strict=True)] / w.sum()
    ),
    "binary_accuracy": lambda p, t, w: w @ ((p > 0) == (t > 0.5)).mean(axis=1) / w.sum(),
    "mean_absolute_error": lambda p, t, w: np.average(np.abs(p - t).mean(axis=1), weights=w),
    "root_mean_squared_error": lambda p, t, w: np.sqrt(
        np.average(((p - t) ** 2).mean(axis=1), weights=w)
    ),
    "r2": mean_r2,
}
OF_CLASSES = {"auc", "brier_score", "f1", "log_loss", "precision", "recall"}
"""`test_metrics_of_classes.py` compares them with scikit-learn's metrics."""


def example(metric, rows, outputs, seed=0):
    g = np.random.default_rng(seed)
    p, w = g.standard_normal((rows, outputs)), g.random(rows) + 0.1
    if isinstance(metric, metrics.ClassMetric):
        return p, g.integers(0, outputs, rows), w
    if isinstance(metric, metrics.BinaryAccuracy):
        return p, g.integers(0, 2, p.shape).astype(float), w
    return p, p + 0.5 * g.standard_normal(p.shape) + 3, w


@pytest.mark.parametrize("metric", [m for m in BUILTIN if m.name not in OF_CLASSES], ids=repr)
def test_figure_is_that_of_the_definition(host_backend, metric):
    p, t, w = example(metric, 40, 8)
    expected = FORMULAS[metric.name](p, t, w)
    assert figure_of(host_backend, metric, p, t, w) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=8, deadline=None)
@given(st.data())
@pytest.mark.parametrize("metric", BUILTIN, ids=repr)
def test_batches_make_no_difference(metric, data):
    backend = NumpyBackend()
    rows = data.draw(st.integers(2, 30))
    bounds = data.draw(st.lists(st.integers(0, rows), max_size=6))
    p, t, w = example(metric, rows, 6, seed=data.draw(st.integers(0, 1000)))
    whole = figure_of(backend, metric, p, t, w, parts=1)
    actual = figure_of(backend, metric, p, t, w, sorted(bounds))
    assert actual == pytest.approx(whole, rel=1e-9, abs=1e-12, nan_ok=metric.name == "auc")


@pytest.mark.parametrize("metric", BUILTIN, ids=repr)
def test_a_weight_is_a_number_of_repetitions(host_backend, metric):
    p, t, _ = example(metric, 5, 6)
    counts = np.array([2, 0, 1, 4, 1])
    again = np.repeat(np.arange(5), counts)
    weighted = figure_of(host_backend, metric, p, t, counts.astype(float))
    repeated = figure_of(host_backend, metric, p[again], t[again], np.ones(8))
    assert weighted == pytest.approx(repeated, rel=1e-12)


OF_PROBABILITIES = (metrics.LogLoss, metrics.BrierScore)


@pytest.mark.parametrize(
    "metric",
    [
        m
        for m in BUILTIN
        if isinstance(m, metrics.ClassMetric) and not isinstance(m, OF_PROBABILITIES)
    ],
)
def test_probabilities_count_as_their_largest(host_backend, metric):
    p, labels, w = example(metric, 20, 7)
    expected = figure_of(host_backend, metric, p, labels, w)
    assert figure_of(host_backend, metric, p, np.eye(7)[labels] * 0.6 + 0.05, w) == expected


def test_top_k_counts_ties_in_favour(host_backend):
    p, w = np.array([[1.0, 1.0, 1.0, 0.0]]), np.ones(1)
    assert figure_of(host_backend, metrics.TopKAccuracy(1), p, np.array([2]), w) == 1
    assert figure_of(host_backend, metrics.TopKAccuracy(3), p, np.array([3]), w) == 0
    assert figure_of(host_backend, metrics.TopKAccuracy(4), p, np.array([3]), w) == 1


def test_binary_threshold(host_backend):
    p, t, w = np.array([[0.4], [0.6]]), np.array([[1.0], [1.0]]), np.ones(2)
    assert figure_of(host_backend, metrics.BinaryAccuracy(0.5), p, t, w) == 0.5
    assert figure_of(host_backend, metrics.BinaryAccuracy(), p, t, w) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bounds", [(), (3, 50)])
def test_r2_of_equal_targets(host_backend, dtype, bounds):
    # 0.1 has no exact binary form: a rounding error in the mean would make R2 hugely negative.
    t = np.full((100, 2), 0.1, dtype)
    exact, off = t.copy(), t + np.float32(0.5)
    w = np.ones(100, dtype)
    assert figure_of(host_backend, metrics.R2(), exact, t, w, bounds) == 1
    assert figure_of(host_backend, metrics.R2(), off, t, w, bounds) == 0


def test_r2_does_not_cancel_far_from_zero(host_backend):
    p, t, w = example(metrics.R2(), 200, 2)
    near = figure_of(host_backend, metrics.R2(), p, t, w, (70, 71))
    far = figure_of(host_backend, metrics.R2(), p + 1e6, t + 1e6, w, (70, 71))
    assert far == pytest.approx(near, rel=1e-8)


@pytest.mark.parametrize(
    ("metric", "targets", "outputs", "message"),
    [
        (metrics.Accuracy(), np.ones((4, 1)), 1, "has 1 output; use 'binary_accuracy'"),
        (metrics.TopKAccuracy(), np.ones((4, 1)), 1, "has 1 output; use 'binary_accuracy'"),
        (metrics.R2(), np.arange(4), 4, "metric 'r2' compares numbers, but y holds class labels"),
        (metrics.R2(), np.ones((4, 1)), 2, "outputs and targets differ: 2 and 1"),
        (metrics.BinaryAccuracy(), np.arange(4), 4, "use 'accuracy' or 'top_k_accuracy'"),
    ],
)
def test_refused_targets(metric, targets, outputs, message):
    with pytest.raises(DataError, match=message):
        metric.check_targets(targets, outputs)


@pytest.mark.parametrize("metric", BUILTIN, ids=repr)
def test_accepted_targets(metric):
    assert metric.larger_is_better is not None
    metric.check_targets(np.eye(4), 4)
    if isinstance(metric, metrics.ClassMetric):
        metric.check_targets(np.arange(4), 4)
