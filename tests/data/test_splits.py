"""Documented properties of splits at random, by time and by group."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunn.data.splits import split_groups, split_rows, split_times
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError

RANDOM = np.random.default_rng(0)


@given(
    rows=st.integers(2, 300),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
    classes=st.integers(1, 6) | st.none(),
)
def test_split_holds_each_row_once(rows, fraction, seed, classes):
    held = math.ceil(round(fraction * rows, 6))
    if held == rows:
        return
    labels = None if classes is None else np.arange(rows) % min(classes, rows // 2)

    kept, held_out = split_rows(rows, fraction, seed, labels)

    assert kept.dtype == held_out.dtype == np.int64
    assert len(held_out) == held
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held_out) > 0).all()
    np.testing.assert_array_equal(np.union1d(kept, held_out), np.arange(rows))
    if labels is not None:
        counts, held_counts = np.bincount(labels), np.bincount(labels[held_out], minlength=1)
        held_counts = np.pad(held_counts, (0, len(counts) - len(held_counts)))
        assert (np.abs(held_counts - counts * held / rows) < 1).all()


@pytest.mark.parametrize(
    ("rows", "fraction", "held"), [(100, 0.07, 7), (1797, 0.2, 360), (5, 0.5, 3)]
)
def test_held_out_rows_are_rounded_up(rows, fraction, held):
    assert len(split_rows(rows, fraction, seed=0)[1]) == held


@pytest.mark.parametrize("labels", [None, np.arange(100) % 3])
def test_split_depends_on_the_seed_only(labels):
    first, again, other = (split_rows(100, 0.3, seed, labels)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("labels", [None, np.arange(20) % 5])
def test_each_row_is_held_out_equally_often(labels):
    held = np.zeros(20)
    for seed in range(2000):
        held[split_rows(20, 0.25, seed, labels)[1]] += 1
    # Binomial with 2000 draws of 1/4: mean 500, standard deviation 19.4; the limit is 5 of these.
    assert (np.abs(held - 500) < 97).all()


def test_string_labels():
    labels = np.array(["cat", "dog"] * 10)
    _, held_out = split_rows(20, 0.2, 0, labels)
    assert sorted(labels[held_out]) == ["cat", "cat", "dog", "dog"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((10, 0, 0), ArgumentError, "fraction: expected a number > 0 and < 1; got 0"),
        ((10, 1.0, 0), ArgumentError, "fraction: expected a number > 0 and < 1; got "),
        ((10, math.nan, 0), ArgumentError, "fraction: expected a number > 0 and < 1; got "),
        ((1, 0.5, 0), ArgumentError, "0.5 of 1 rows would hold out 1 rows and keep 0;"),
        ((0, 0.5, 0), ArgumentError, "0.5 of 0 rows would hold out 0 rows and keep 0;"),
        ((10, 0.5, -1), ArgumentError, "seed: expected an integer >= 0; got -1"),
        ((10.0, 0.5, 0), ArgumentTypeError, r"rows: expected an integer; got 10\.0"),
        ((10, 0.5, "0"), ArgumentTypeError, "seed: expected an integer; got '0'"),
        ((4, 0.5, 0, [0, 1, 0]), DataError, r"labels: expected shape \(4,\), got \(3,\)"),
        ((3, 0.5, 0, [7, 8, 7]), DataError, "class 8 has only one row"),
        ((3, 0.5, 0, ["a", "b", "a"]), DataError, "class 'b' has only one row"),
    ],
)
def test_split_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        split_rows(*arguments)


@pytest.mark.parametrize(
    ("times", "fraction", "held"),
    [
        ([5, 1, 4, 2, 3], 0.4, [0, 2]),
        ([1, 2, 2, 2, 2], 0.2, [1, 2, 3, 4]),  # at least one held-out time
        ([1, 1, 2, 2, 3], 0.5, [2, 3, 4]),
        ([1, 2, 3, 3, 3, 4], 0.5, [2, 3, 4, 5]),  # 4 rows are closer to 3 than 1 row is
        ([1.5, -np.inf, 2.5], 0.3, [2]),
        (np.array(["2026-01-02", "2025-12-31", "2026-01-01"], "datetime64[D]"), 0.3, [0]),
    ],
)
def test_the_latest_rows_are_held_out(times, fraction, held):
    times = np.asarray(times)
    kept, found = split_times(times, fraction)
    assert found.tolist() == held
    assert sorted([*kept, *found]) == list(range(len(times)))
    assert times[kept].max() < times[found].min()


@pytest.mark.parametrize("groups", [1, 2, 3, 10, 77, 500])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9])
def test_no_group_is_on_both_sides(groups, fraction):
    rows = 600
    labels = RANDOM.integers(0, 3, rows)
    codes = np.concatenate([np.arange(groups), RANDOM.integers(0, groups, rows - groups)])
    if groups == 1:
        with pytest.raises(DataError, match="all rows belong to one group"):
            split_groups(codes, fraction, 0)
        return
    for classes in (None, labels):
        kept, held = split_groups(codes, fraction, 3, classes)
        assert not set(codes[kept]) & set(codes[held])
        assert sorted([*kept, *held]) == list(range(rows))
        assert len(kept) * len(held) > 0
        # Every other choice differs by at least a group.
        smallest = np.bincount(codes).min()
        assert abs(len(held) - fraction * rows) <= max(smallest, 1) + rows / groups
        again = split_groups(codes, fraction, 3, classes)
        assert (again[0] == kept).all()


@pytest.mark.parametrize(
    ("sizes", "fraction", "held"),
    [
        ([60, 40, 30, 25], 0.2, 30),
        ([50, 50], 0.2, 50),
        ([95, 5], 0.2, 5),
        ([95, 5], 0.8, 95),
        ([99, 1], 0.99, 99),
        ([1] * 100, 0.2, 20),
        ([300, *[10] * 70], 0.2, 200),
    ],
)
def test_the_fraction_is_as_close_as_groups_allow(sizes, fraction, held):
    groups = np.repeat([f"g{number}" for number in range(len(sizes))], sizes)
    for seed in range(3):
        assert len(split_groups(groups, fraction, seed)[1]) == held


def test_the_choice_of_groups_depends_only_on_the_seed():
    groups = np.repeat(np.arange(50), 4)
    found = {tuple(groups[split_groups(groups, 0.2, seed)[1]]) for seed in range(5)}
    assert len(found) == 5
    assert split_groups(groups, 0.2, 1)[1].tolist() == split_groups(groups, 0.2, 1)[1].tolist()


def test_classes_keep_their_proportions_as_far_as_groups_allow():
    groups = np.repeat(np.arange(100), 6)
    of_group = RANDOM.random(100) < 0.2  # each group has one class
    mixed = RANDOM.random(600) < 0.1
    for labels in (of_group[groups].astype(int), mixed.astype(int)):
        _, held = split_groups(groups, 0.25, 0, labels)
        assert abs(labels[held].mean() - labels.mean()) < 0.02


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8, 0.9])
def test_the_last_group_of_a_class_is_kept(fraction):
    groups = np.repeat(np.arange(30), 5)
    labels = (groups == 7).astype(int) + 2 * (groups % 10 == 3)
    for seed in range(10):
        kept, _ = split_groups(groups, fraction, seed, labels)
        assert set(labels[kept]) == {0, 1, 2}


@pytest.mark.parametrize("split", [split_times, lambda *given: split_groups(*given, 0)])
def test_impossible_splits(split):
    with pytest.raises(DataError, match="all rows"):
        split([1, 1, 1], 0.5)
    for fraction in (0, 1, -0.5):
        with pytest.raises(ArgumentError, match="fraction"):
            split([1, 2, 3], fraction)
