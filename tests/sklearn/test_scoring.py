"""Scores of averaged predictions, compared with scikit-learn's metrics."""

import numpy as np
import pytest
from sklearn import metrics

from gpunn.metrics import AUC
from gpunn.sklearn import scoring as scoring_module
from gpunn.sklearn.scoring import HeldOut, Scoring, counts_of

RANDOM = np.random.default_rng(0)
ROWS = 60
CLASS = RANDOM.integers(3, size=ROWS)
THREE = RANDOM.dirichlet([1, 1, 1], ROWS)
LABELS, TWO = RANDOM.integers(2, size=(ROWS, 2)), RANDOM.uniform(0.1, 0.9, (ROWS, 2))
NUMBERS = RANDOM.uniform(1, 9, ROWS)
PREDICTED = NUMBERS[:, None] * RANDOM.uniform(0.8, 1.2, (ROWS, 1))
PAIR = np.stack([NUMBERS, NUMBERS**2], axis=1)
QUANTILES = np.sort(NUMBERS[:, None] * RANDOM.uniform(0.5, 2, (ROWS, 3)), axis=1)
WEIGHTS = RANDOM.integers(3, size=ROWS).astype(float)


def rmsle(y, p, sample_weight):
    """The squared error of the logarithms."""
    return metrics.mean_squared_error(np.log(y), np.log(p), sample_weight=sample_weight)


def pinball(y, p, sample_weight):
    pairs = zip((0.1, 0.5, 0.9), p.T, strict=True)
    losses = [
        metrics.mean_pinball_loss(y, each, sample_weight=sample_weight, alpha=level)
        for level, each in pairs
    ]
    return np.mean(losses)


def labels_auc(y, p, sample_weight):
    return metrics.roc_auc_score(y, p, sample_weight=sample_weight)


def labels_loss(y, p, sample_weight):
    pairs = zip(y.T, p.T, strict=True)
    return np.mean([metrics.log_loss(*each, sample_weight=sample_weight) for each in pairs])


def accuracy(y, p, sample_weight):
    return metrics.accuracy_score(y, p.argmax(axis=1), sample_weight=sample_weight)


def error(y, p, sample_weight):
    return metrics.root_mean_squared_error(y, p[:, 0], sample_weight=sample_weight)


CASES = {
    "log_loss": ("classification", CLASS, THREE, {}, metrics.log_loss),
    "loss": ("classification", CLASS, THREE, {}, metrics.log_loss),
    "accuracy": ("classification", CLASS, THREE, {}, accuracy),
    "auc": ("multilabel", LABELS, TWO, {}, labels_auc),
    "log_loss of labels": ("multilabel", LABELS, TWO, {}, labels_loss),
    "root_mean_squared_error": ("regression", NUMBERS, PREDICTED, {}, error),
    "r2": ("regression", PAIR, PAIR[::-1] / 2 + PAIR, {}, metrics.r2_score),
    "loss of logarithms": ("regression", NUMBERS, PREDICTED, {"log": True}, rmsle),
    "loss of quantiles": (
        "regression",
        NUMBERS,
        QUANTILES,
        {"quantiles": (0.1, 0.5, 0.9)},
        pinball,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_scores(name):
    task, y, predictions, options, expected = CASES[name]
    halves = np.array_split(np.arange(ROWS), 2)
    held_out = [HeldOut(y[rows], WEIGHTS[rows]) for rows in halves]
    outputs = predictions.shape[1]
    scoring = Scoring(task, name.partition(" ")[0], outputs, held_out, **options)
    scores = [expected(y[rows], predictions[rows], sample_weight=WEIGHTS[rows]) for rows in halves]
    np.testing.assert_allclose(scoring.scores(predictions), scores, 1e-6)
    sign = -1 if name in ("accuracy", "auc", "r2") else 1
    assert scoring.loss(predictions) == pytest.approx(sign * np.mean(scores))
    assert scoring.standard_error(predictions) == pytest.approx(np.ptp(scores) / 2)


@pytest.mark.parametrize("sampled", [ROWS, ROWS // 2])
def test_standard_error_of_one_fold(sampled, monkeypatch):
    """Smaller samples vary more, but the standard error is that of all rows."""
    monkeypatch.setattr(scoring_module, "SAMPLED", sampled)
    scoring = Scoring("classification", "accuracy", 3, [HeldOut(CLASS, None)])
    p = float(scoring.scores(THREE)[0])
    assert scoring.standard_error(THREE) == pytest.approx(np.sqrt(p * (1 - p) / ROWS), rel=0.2)


def test_counts_of_auc():
    """The counts are those of the metric, which works on all devices but takes long."""
    outputs = np.log(THREE)
    expected = AUC().measure(np, outputs, CLASS[:, None], WEIGHTS)
    np.testing.assert_allclose(counts_of(AUC(), outputs, CLASS[:, None], WEIGHTS), expected)
