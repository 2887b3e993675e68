"""ROC, precision-recall and calibration curves, compared with scikit-learn's."""

import numpy as np
import pytest
from reporting.test_results import findings

from gpunn.reporting.findings import Classes, Labels
from gpunn.reporting.probabilities import (
    Scores,
    calibration,
    calibration_error,
    precision_recall,
    probability_charts,
    roc,
)
from gpunn.reporting.results import results

RANDOM = np.random.default_rng(0)


def scores(rows: int, decimals: int, share: float = 0.3) -> Scores:
    """Some that often come true; the fewer decimals, the more ties."""
    truth = RANDOM.random(rows) < share
    truth[:2] = [True, False]
    noise = RANDOM.normal(size=rows) + truth
    return Scores("yes", truth, np.round(1 / (1 + np.exp(-noise)), decimals))


CASES = [scores(2, 3), scores(50, 1), scores(500, 2, 0.02), scores(3000, 12)]
CASES.append(Scores("equal", np.array([True, False, True]), np.full(3, 0.5)))
CASES.append(Scores("sure", np.array([True, False, False]), np.array([1.0, 0.0, 1.0])))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{len(case.truth)}")
def test_figures_and_curves_are_those_of_scikit_learn(case):
    metrics = pytest.importorskip("sklearn.metrics")
    given = case.truth, case.probability
    (across, up), area = roc(case)
    assert area == pytest.approx(metrics.roc_auc_score(*given), abs=1e-12)
    expected = metrics.roc_curve(*given, drop_intermediate=False)
    np.testing.assert_allclose((across, up), expected[:2], atol=1e-12)
    (recall, precision), average = precision_recall(case)
    assert average == pytest.approx(metrics.average_precision_score(*given), abs=1e-12)
    precisions, recalls, _ = metrics.precision_recall_curve(*given, drop_intermediate=False)
    np.testing.assert_allclose(precision, precisions[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(recall, recalls[:-1][::-1], atol=1e-12)
    calibrated = pytest.importorskip("sklearn.calibration").calibration_curve
    (mean, share), rows = calibration(case)
    np.testing.assert_allclose((share, mean), calibrated(*given, n_bins=10), atol=1e-12)
    assert rows.sum() == len(case.truth)


def test_calibration_error():
    """Expected: one bin with 0.2 and one yes of two, and one bin with 0.9 and one yes of one."""
    probability, truth = np.array([0.2, 0.2, 0.9]), np.array([True, False, True])
    error, _ = calibration_error(Scores("yes", truth, probability))
    assert error == pytest.approx((abs(1 - 0.4) + abs(1 - 0.9)) / 3)
    probability = RANDOM.random(20_000)
    below = 0
    for _ in range(40):
        truth = RANDOM.random(20_000) < probability
        error, limit = calibration_error(Scores("yes", truth, probability))
        below += error < limit
    assert 33 <= below < 40  # 95 % on average
    error, limit = calibration_error(Scores("yes", truth, probability**1.2))
    assert error > 2 * limit


def test_charts_of_two_classes():
    probability = np.array([0.1, 0.4, 0.35, 0.8])
    truth = np.array([0, 0, 1, 1])
    both = np.column_stack([1 - probability, probability])
    outcome = Classes(["no", "yes"], truth, both.argmax(axis=1), both.max(axis=1), both)
    found = {chart.key: chart for chart in results(findings(outcome), "a").charts}
    assert list(found) == ["a-confusion", "a-roc", "a-precision-recall", "a-calibration"]
    assert found["a-roc"].note.startswith("Area: yes, 0.7500.")
    assert found["a-precision-recall"].note.startswith("Average precision: yes, 0.8333.")
    assert "precision equal to the fraction of positives: 0.5" in found["a-precision-recall"].note
    assert [row[-1] for row in found["a-calibration"].rows] == [1, 2, 1]
    assert all(len(chart.legend) == 1 for key, chart in found.items() if key != "a-confusion")


def test_charts_of_several_classes_and_labels():
    raw = RANDOM.dirichlet(np.ones(3), 60)
    outcome = Classes(["a", "b", "c"], raw.argmax(axis=1), raw.argmax(axis=1), raw.max(1), raw)
    (_, curve, *_) = results(findings(outcome), "a").charts
    assert [line.name[:3] for line in curve.legend] == ["a, ", "b, ", "c, "]
    labels = results(findings(Labels(raw > 0.3, raw > 0.5, raw, ["late", "lost", "cold"])), "a")
    assert [len(chart.legend) for chart in labels.charts] == [3, 3, 3]
    assert [line.name[:6] for line in labels.charts[-1].legend] == ["late, ", "lost, ", "cold, "]
    assert [row[0] for row in labels.tables[0].rows] == ["late", "lost", "cold"]


def test_what_has_no_curves():
    always = Scores("yes", np.ones(4, bool), np.linspace(0, 1, 4))
    assert probability_charts([always], "test", "a") == []
    assert probability_charts([scores(20, 2)] * 9, "test", "a") == []
    charts = probability_charts([always, scores(20, 2)], "test", "a")
    assert [len(chart.legend) for chart in charts] == [1, 1, 1]


def test_long_curves_are_thinned():
    found = probability_charts([scores(30_000, 12)], "test", "a")
    assert all(len(chart.rows) <= 100 for chart in found)
    assert sum(len(chart.svg) for chart in found) < 300_000
