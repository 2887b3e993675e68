"""Prediction sets: limits of held-out rows, and the classes of each set."""

import numpy as np
import pytest

from gpunn.prediction_sets import (
    ROUNDING,
    check_sets,
    classes_in_sets,
    fit_sets,
    limit_of_set,
    set_of,
)

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("rows", "percent", "expected"), [(99, 90, 10), (99, 99, 1), (99, 1, 99), (9, 91, None)]
)
def test_the_limit_is_an_order_statistic(rows, percent, expected):
    """The k-th largest probability, k = ceil((n + 1) * percent / 100), of 0.001, 0.002, ..."""
    p = RANDOM.permutation(np.arange(1, rows + 1)) / 1000
    p, classes = np.c_[p, 1 - p, p], RANDOM.choice([0, 2], rows)
    for weights in (None, np.full(rows, 0.5)):
        limit = fit_sets(p, classes, weights)["limits"][percent - 1]
        assert limit == (expected and pytest.approx(expected / 1000 * (1 - ROUNDING), 1e-12))
    ignored = np.r_[p, [[1, 1, 1]]], np.r_[classes, 0], np.r_[np.ones(rows), 0]
    assert fit_sets(*ignored) == fit_sets(p, classes)
    if expected is None:
        with pytest.raises(ValueError, match="a set of 91 % needs at least 11 held-out rows"):
            limit_of_set(fit_sets(p, classes), percent)


def test_no_rows():
    assert fit_sets(np.ones((1, 2)), np.zeros(1, int), np.zeros(1))["limits"] == [None] * 99


def test_coverage():
    """Sets from n of n + 1 rows contain the last row's class for exactly k of its n + 1 choices."""
    rows, covered = 35, 0
    p = RANDOM.dirichlet([0.5] * 4, rows)
    shares = np.cumsum((p + 0.25) / 2, axis=1)
    classes = (shares < RANDOM.random((rows, 1))).sum(axis=1).clip(max=3)
    for row in range(rows):
        sets = fit_sets(np.delete(p, row, axis=0), np.delete(classes, row))
        found = classes_in_sets(p[row : row + 1], p[row : row + 1].argmax(axis=1), sets, 90)
        covered += int(found[0, classes[row]])
    assert covered == 32


def test_sets_of_one_row_and_of_many():
    """The predicted class, which a threshold may have selected, is always in the set."""
    p = RANDOM.dirichlet([1, 1, 1], 200)
    sets = fit_sets(p[:100], p[:100].argmax(axis=1))
    predicted = RANDOM.integers(0, 3, 200)
    found = classes_in_sets(p, predicted, sets, 50)
    assert found[np.arange(200), predicted].all()
    assert not found.all()
    for row, code, each in zip(p.tolist(), predicted.tolist(), found.tolist(), strict=True):
        assert set_of(row, code, sets, 50) == each
    assert classes_in_sets(p * np.nan, predicted, sets, 50).sum() == 200


VALID = fit_sets(np.eye(2), np.arange(2))


@pytest.mark.parametrize(
    "value",
    [{}, [0.5], {"limits": 1}, {"limits": [0.5] * 98}, *({"limits": [x] * 99} for x in ("", 2.0))],
)
def test_sets_of_a_damaged_file(value):
    assert check_sets(VALID) == VALID
    with pytest.raises(ValueError, match="expected a limit for each percentage"):
        check_sets(value)
