"""Folds: each row is held out once; sizes, classes, groups and rows without weight."""

import numpy as np
import pytest

from gpunn.errors import ArgumentError, DataError, GpunnWarning
from gpunn.sklearn.folds import folds_of

RANDOM = np.random.default_rng(0)
ROWS = 103
LABELS = np.repeat([0, 1, 2], [60, 30, 13])[RANDOM.permutation(ROWS)]
WEIGHTS = (RANDOM.random(ROWS) < 0.4).astype(float)
GROUPS = RANDOM.permutation(np.repeat(np.arange(40), RANDOM.integers(1, 5, 40))[:ROWS])
COUNT = 5


def spread(values, folds):
    """Return the difference between the most and the fewest rows of a fold, for each value."""
    counts = [np.bincount(values[folds == each], minlength=4) for each in range(COUNT)]
    return np.ptp(counts, axis=0)


@pytest.mark.parametrize("labels", [LABELS, None])
@pytest.mark.parametrize("weights", [WEIGHTS, None])
def test_sizes_of_folds(labels, weights):
    folds = folds_of(COUNT, ROWS, 0, labels, weights, None)
    ones = np.zeros(ROWS, int)
    assert (spread(ones, folds) <= 1).all()
    classes = ones if labels is None else labels
    counted = ones == 0 if weights is None else weights > 0
    for part in (counted, ~counted):
        assert (spread(classes[part], folds[part]) <= 1).all()
    np.testing.assert_array_equal(folds, folds_of(COUNT, ROWS, 0, labels, weights, None))
    assert (folds != folds_of(COUNT, ROWS, 1, labels, weights, None)).any()
    assert (folds[:COUNT] != np.arange(COUNT)).any(), "else rows are not shuffled"


@pytest.mark.parametrize(("labels", "limits"), [(LABELS, [4, 4, 2]), (None, [1])])
def test_groups_stay_together(labels, limits):
    groups = GROUPS[:ROWS]
    folds = folds_of(COUNT, len(groups), 0, labels, None, ("group", groups))
    for group in set(groups.tolist()):
        assert len(set(folds[groups == group])) == 1
    classes = np.zeros(ROWS, int) if labels is None else labels
    assert (spread(classes, folds)[: len(limits)] <= limits).all()
    other = folds_of(COUNT, len(groups), 1, labels, None, ("group", groups))
    assert (folds != other).any()


def test_groups_with_one_class_each():
    groups = np.repeat(np.arange(20), 5)
    labels = groups % 4
    folds = folds_of(COUNT, 100, 0, labels, None, ("group", groups))
    assert (spread(labels, folds) == 0).all()


@pytest.mark.parametrize("seed", range(9))
def test_groups_without_weight(seed):
    """Each fold has a group with weight, if there are enough such groups, even small ones."""
    groups = np.sort(GROUPS)
    weighted = np.isin(groups, np.unique(groups)[:COUNT]) * 1.0
    folds = folds_of(COUNT, ROWS, seed, LABELS, weighted, ("group", groups))
    assert len(set(folds[weighted > 0])) == COUNT


def test_a_class_in_one_fold():
    labels = np.where(np.arange(ROWS) == 7, 3, LABELS)
    with pytest.warns(GpunnWarning, match="n_cv: y has 1 class with rows in only one fold"):
        folds_of(COUNT, ROWS, 0, labels, None, None)


@pytest.mark.parametrize(
    ("weights", "split_by", "problem"),
    [
        (np.arange(ROWS) < 4, None, "n_cv: 5 folds need at least 5 rows with a weight above 0"),
        (None, ("group", np.arange(9)), "groups: expected one value for each of 103 rows; got 9"),
        (None, ("group", np.arange(ROWS) % 4), "groups: 5 folds need at least 5 groups; got 4"),
        (
            np.arange(ROWS) % 5 < 2,
            ("group", np.arange(ROWS) % 5),
            "sample_weight: all rows of 3 of the 5 folds have a weight of zero; use a",
        ),
        (None, ("time", np.arange(ROWS)), "times: cannot be combined with n_cv=5, since networks"),
    ],
)
def test_impossible_folds(weights, split_by, problem):
    with pytest.raises((ArgumentError, DataError), match=problem):
        folds_of(COUNT, ROWS, 0, LABELS, None if weights is None else weights * 1.0, split_by)
