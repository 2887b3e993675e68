"""Compare metrics of several labels with scikit-learn's on indicator matrices."""

import math

import figures_of_metrics
import numpy as np
import pytest
from sklearn import metrics as reference

import gpunn
from gpunn import metrics
from gpunn.errors import DataError
from gpunn.layers import Flatten
from gpunn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from gpunn.metrics.labels import for_loss

LABELS = 3


def example(rows=300, labels=LABELS):
    g = np.random.default_rng(0)
    p = 2 * g.standard_normal((rows, labels))
    t = (g.random((rows, labels)) < 1 / (1 + np.exp(-p))).astype(float)
    w = g.random(rows) + 0.1
    w[::7] = 0
    return p, t, w


def figure_of(backend, metric, p, t, w):
    metric = for_loss(metric, BinaryCrossEntropy(), p.shape[1])
    metric.check_targets(t, p.shape[1])
    return figures_of_metrics.figure_of(backend, metric, p, t, w)


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_auc_is_the_mean_over_labels(host_backend, labels):
    p, t, w = example(labels=labels)
    expected = reference.roc_auc_score(t, p, average="macro", sample_weight=w)
    assert figure_of(host_backend, metrics.AUC(), p, t, w) == pytest.approx(expected, abs=1e-4)


def test_auc_on_each_engine(backend):
    p, t, w = (array.astype(np.float32) for array in example())
    metric = for_loss(metrics.AUC(), BinaryCrossEntropy(), LABELS)
    summary = backend.zeros((metric.size(LABELS),), "float32")
    arrays = [backend.from_host(array) for array in (p, t, w)]
    backend.metric(metric, *arrays, summary)
    expected = reference.roc_auc_score(t, p, average="macro", sample_weight=w)
    actual = metric.result(backend.to_host(summary), float(w.sum()))
    assert actual == pytest.approx(expected, abs=1e-4)


def test_auc_leaves_out_a_label_that_is_always_the_same(host_backend):
    p, t, w = example()
    t[:, 1] = 0
    expected = reference.roc_auc_score(t[:, [0, 2]], p[:, [0, 2]], sample_weight=w)
    assert figure_of(host_backend, metrics.AUC(), p, t, w) == pytest.approx(expected, abs=1e-4)
    assert math.isnan(figure_of(host_backend, metrics.AUC(), p, 0 * t, w))


def test_scores_of_probabilities(host_backend):
    p, t, w = example()
    s = 1 / (1 + np.exp(-p))
    losses = [reference.log_loss(t[:, j], s[:, j], sample_weight=w) for j in range(LABELS)]
    actual = figure_of(host_backend, metrics.LogLoss(), p, t, w)
    assert actual == pytest.approx(np.mean(losses), rel=1e-12)
    briers = [reference.brier_score_loss(t[:, j], s[:, j], sample_weight=w) for j in range(LABELS)]
    actual = figure_of(host_backend, metrics.BrierScore(), p, t, w)
    assert actual == pytest.approx(np.mean(briers), rel=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize(
    ("cls", "their"),
    [
        (metrics.F1, reference.f1_score),
        (metrics.Precision, reference.precision_score),
        (metrics.Recall, reference.recall_score),
    ],
)
def test_counts(host_backend, cls, their, average):
    p, t, w = example()
    t[:, 1], p[:, 1] = 0, -1  # a label that no row has and no prediction contains
    for zero_division in (0.0, 1.0):
        options = {"average": average, "zero_division": zero_division}
        expected = their(t, p > 0.5, sample_weight=w, **options)
        actual = figure_of(host_backend, cls(threshold=0.5, **options), p, t, w)
        assert actual == pytest.approx(expected, rel=1e-12)


def test_a_trainer_knows_labels_by_its_loss(host_backend):
    p, t, w = example()
    t[:, 0] = t.sum(axis=1) == 0  # many rows have exactly one label, and some do not
    trainer = gpunn.Trainer(
        gpunn.Sequential([Flatten()], LABELS, host_backend, dtype="float64"),
        "binary_cross_entropy",
        metrics=["auc", "log_loss", "binary_accuracy", {"name": "f1", "average": "macro"}],
    )
    actual = trainer.evaluate(p, t, sample_weight=w)
    expected = reference.roc_auc_score(t, p, average="macro", sample_weight=w)
    assert actual["auc"] == pytest.approx(expected, abs=1e-3)
    assert actual["log_loss"] == pytest.approx(actual["loss"], rel=1e-12)
    right = np.average(((p > 0) == (t > 0.5)).mean(axis=1), weights=w)
    assert actual["binary_accuracy"] == pytest.approx(right, rel=1e-12)
    expected = reference.f1_score(t, p > 0, average="macro", sample_weight=w)
    assert actual["f1"] == pytest.approx(expected, rel=1e-12)
    # With another loss, the same metrics are for classes again.
    trainer.metrics = ["auc"]
    trainer.loss = "softmax_cross_entropy"
    classes = p.argmax(axis=1)
    assert trainer.evaluate(p, classes)["auc"] > 0.99
    assert type(trainer.metrics[0]) is metrics.AUC


def test_other_metrics_are_unchanged():
    for metric in (metrics.AUC(64), metrics.LogLoss(), metrics.F1("macro", 0.5)):
        assert for_loss(metric, SoftmaxCrossEntropy(), 3) is not None
        assert type(for_loss(metric, SoftmaxCrossEntropy(), 3)) is type(metric)
        assert type(for_loss(metric, BinaryCrossEntropy(), 1)) is type(metric)
        of_labels = for_loss(metric, BinaryCrossEntropy(), 3)
        assert of_labels.config() == metric.config()
        assert for_loss(of_labels, SoftmaxCrossEntropy(), 3) == metric


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        ("accuracy", "needs one class per row.* For multilabel targets use 'binary_accuracy'"),
        ({"name": "top_k_accuracy", "k": 2}, "needs one class per row"),
        ("f1", "there are 3 labels; use average='macro' or 'micro'"),
    ],
)
def test_metrics_that_judge_no_labels(metric, problem):
    model = gpunn.Sequential([Flatten()], LABELS, "numpy")
    trainer = gpunn.Trainer(model, "binary_cross_entropy", metrics=[metric])
    with pytest.raises(DataError, match=problem):
        trainer.evaluate(*example()[:2])
