"""The threshold between two classes: selected like an exhaustive search, and applied to margins."""

import math

import numpy as np
import pytest

from gpunn.errors import ArgumentError
from gpunn.thresholds import (
    best_threshold,
    check_criterion,
    decision_metrics,
    limit_of,
    margins,
)

metrics = pytest.importorskip("sklearn.metrics")

MAXIMIZED = {"precision": "recall", "recall": "precision"}


def rows(seed, ties=False):
    """Return margins and truth of an imbalanced problem; with ties, margins have few values."""
    random = np.random.default_rng(seed)
    truth = random.random(60) < 0.2
    margin = random.normal(-2.0 + 2.5 * truth, 1.5)
    return (np.round(margin) if ties else margin), truth


def by_all_thresholds(criterion, margin, truth):
    """Return the best value of any threshold."""
    name, _, number = criterion.partition("=")
    maximized = MAXIMIZED.get(name, name)
    values = np.unique(margin)
    limits = [-np.inf, *((values[1:] + values[:-1]) / 2)]
    found = [decision_metrics(margin >= limit, truth) for limit in limits]
    return max(each[maximized] for each in found if not number or each[name] >= float(number))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "criterion", ["f1", "balanced_accuracy", "precision=0.3", "recall=0.8", "recall=1", "recall=0"]
)
def test_no_other_threshold_is_better(criterion, seed, ties):
    margin, truth = rows(seed, ties)
    choice = best_threshold(criterion, margin, truth)
    assert choice.reached
    actual = decision_metrics(margin >= limit_of(choice.threshold), truth)
    name, _, number = criterion.partition("=")
    if number:
        assert actual[name] >= float(number)
    assert actual[MAXIMIZED.get(name, name)] == pytest.approx(
        by_all_thresholds(criterion, margin, truth)
    )


@pytest.mark.parametrize("criterion", ["f1", "balanced_accuracy", "precision=0.4", "recall=0.7"])
def test_weights_count_as_rows(criterion):
    margin, truth = rows(5)
    weights = np.random.default_rng(0).integers(0, 4, len(margin))
    repeated = np.repeat(margin, weights), np.repeat(truth, weights)
    assert best_threshold(criterion, margin, truth, weights) == best_threshold(criterion, *repeated)


def test_a_number_out_of_reach_gives_the_nearest_threshold():
    margin, truth = np.array([3.0, 2.0, 1.0, 0.0]), np.array([False, True, True, False])
    choice = best_threshold("precision=0.9", margin, truth)
    assert not choice.reached
    assert limit_of(choice.threshold) == pytest.approx(0.5)  # with a precision of 2 / 3


@pytest.mark.parametrize("second", [False, True])
def test_rows_of_one_class_have_no_threshold(second):
    assert best_threshold("f1", np.arange(3.0), np.full(3, second)) is None


def test_certain_rows_have_a_threshold_below_one():
    choice = best_threshold("f1", np.array([90.0, 80.0, 5.0]), np.array([True, False, False]))
    assert 0 < choice.threshold < 1


@pytest.mark.parametrize(("threshold", "limit"), [(0, -math.inf), (0.5, 0.0), (1, math.inf)])
def test_limits(threshold, limit):
    assert limit_of(threshold) == limit


@pytest.mark.parametrize("threshold", [1e-12, 0.02, 0.3, 0.97, 1 - 1e-12])
def test_margins_decide_as_probabilities_do(threshold):
    random = np.random.default_rng(0)
    outputs = random.normal(0, 3, (50, 2)).astype("f4")
    exponential = np.exp(outputs.astype(float))
    probability = exponential[:, 1] / exponential.sum(axis=1)
    second = margins(outputs) >= limit_of(threshold)
    np.testing.assert_array_equal(second, probability >= threshold)
    single = (outputs[:, 1:] - outputs[:, :1]).astype(float)
    np.testing.assert_array_equal(margins(single) >= limit_of(threshold), second)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_decisions_are_scikit_learns(seed):
    margin, truth = rows(seed)
    second = margin > 0
    assert decision_metrics(second, truth) == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(truth, second),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, second),
            "precision": metrics.precision_score(truth, second),
            "recall": metrics.recall_score(truth, second),
            "f1": metrics.f1_score(truth, second),
        }
    )


def test_metrics_without_such_rows_are_zero():
    none = np.zeros(3, bool)
    actual = decision_metrics(none, none)
    assert actual["accuracy"] == 1
    assert actual["precision"] == actual["recall"] == actual["f1"] == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("f2", "there is no criterion 'f2'; did you mean 'f1'"),
        ("f1=0.5", "there is no criterion 'f1=0.5'"),
        ("recall", "'recall' needs a number from 0 to 1, such as recall=0.9"),
        ("recall=90", "'recall' needs a number"),
        ("precision=high", "'precision' needs a number"),
        ("precision=nan", "'precision' needs a number"),
    ],
)
def test_criteria_that_there_are_not(text, problem):
    with pytest.raises(ArgumentError, match=f"^threshold_for: {problem}"):
        check_criterion("threshold_for", text)


def test_metrics_of_rows_of_one_class_are_scikit_learns():
    truth, second = np.ones(4, bool), np.array([True, False, True, True])
    for one in truth, ~truth:
        with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
            expected = metrics.balanced_accuracy_score(one, second)
        assert decision_metrics(second, one)["balanced_accuracy"] == expected


@pytest.mark.parametrize("criterion", ["f1", "precision=1", "recall=0", "balanced_accuracy"])
def test_a_choice_decides_as_promised_of_probabilities_that_round_to_one(criterion):
    margin = np.array([60.0, 50.0, 45.0, 38.0, 3.0, 2.0, 1.0])
    truth = np.array([True, False, False, False, True, True, False])
    choice = best_threshold(criterion, margin, truth)
    actual = decision_metrics(margin >= limit_of(choice.threshold), truth)
    possible = [decision_metrics(margin >= limit, truth) for limit in (37, 2.5, 1.5, 0)]
    name, _, number = criterion.partition("=")
    if name == "precision":
        assert not choice.reached
    elif number:
        name = "precision"
    assert actual[name] == max(each[name] for each in possible)
