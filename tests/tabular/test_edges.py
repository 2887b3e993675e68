"""Bin edges: quantiles, and thresholds of a decision tree."""

import sys

import numpy as np
import pytest

from gpunn.errors import ArgumentError, MissingPackageError
from gpunn.layers import PiecewiseLinearEmbedding
from gpunn.tabular import quantile_edges, tree_edges

X = np.arange(12.0)


@pytest.fixture
def sklearn():
    return pytest.importorskip("sklearn", reason="scikit-learn is not installed")


@pytest.mark.parametrize(
    ("x", "bins", "expected"),
    [
        (X, 3, [0, 11 / 3, 22 / 3, 11]),
        (np.array([0.0, 1, 1, 1, 1, 1, 1, 1, 9]), 4, [0, 1, 4.5, 9]),
        (np.array([0.0] * 60 + [*range(1, 41)]), 5, [0, 1, 10.75, 20.5, 30.25, 40]),
        (np.repeat([5.0, 1.0, 2.0, 8.0], [40, 3, 40, 17]), 3, [1, 2, 5, 8]),
        (np.array([1.0] * 50 + [2]), 1, [1, 2]),
        (np.full(5, 3.0), 4, [3, 6]),
        (np.full(5, -1e20), 4, [-1e20, 0]),
        (np.repeat([-5.0, -2, -1, 0], [4, 1, 1, 24]), 6, [-5, -2, -1, 0]),
    ],
    ids=[
        *("spread", "repeated", "mostly zero", "all frequent", "one bin", "constant", "large"),
        "rounded ranks",
    ],
)
def test_quantiles(x, bins, expected):
    np.testing.assert_allclose(quantile_edges(x, bins), expected)


STEPS = np.select([X < 3, X < 8], [0.0, 10.0], 11.0)


@pytest.mark.parametrize(
    ("y", "task", "options", "expected"),
    [
        (STEPS, "regression", {}, [0, 2.5, 7.5, 11]),
        (STEPS, "regression", {"bins": 2}, [0, 2.5, 11]),
        (STEPS[:, None] * [1, 2], "regression", {}, [0, 2.5, 7.5, 11]),
        (STEPS, "regression", {"min_samples_leaf": 6}, [0, 5.5, 11]),
        (STEPS, "regression", {"min_impurity_decrease": 1.0}, [0, 2.5, 11]),
        (np.where(X < 9, "no", "yes"), "classification", {}, [0, 8.5, 11]),
        (X % 4 == 1, "classification", {"bins": 3, "min_samples_leaf": 2}, None),
        (np.zeros(12), "regression", {}, [0, 11]),
    ],
    ids=["steps", "largest step", "two outputs", "leaf", "impurity", "text", "many", "no use"],
)
def test_thresholds_of_a_tree(sklearn, y, task, options, expected):
    edges = tree_edges(X, y, task, **options)
    if expected is None:
        assert len(edges) == options["bins"] + 1
        assert min(np.diff(edges)) > options["min_samples_leaf"] - 1
    else:
        assert edges == expected
    assert PiecewiseLinearEmbedding([edges]).bins == len(edges) - 1


def test_rows_in_another_order_have_the_same_edges(sklearn):
    order = np.random.default_rng(0).permutation(12)
    assert tree_edges(X[order], STEPS[order], "regression") == [0, 2.5, 7.5, 11]


def test_a_constant_column_has_a_bin(sklearn):
    assert tree_edges(np.full(5, 3.0), np.arange(5.0), "regression") == [3, 6]


def test_adjacent_float32_numbers_have_distinct_edges(sklearn):
    x = np.array([1, np.nextafter(np.float32(1), np.float32(2)), 2], np.float32)
    edges = np.array(tree_edges(x, np.array([0.0, 1, 0]), "regression"), np.float32)
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((X[:, None], STEPS, "regression"), r"x: expected a vector .* got shape \(12, 1"),
        ((np.where(X == 2, np.nan, X), STEPS, "regression"), "x: .* got nan in row 2"),
        ((np.arange(12), STEPS, "regression"), "x: expected floats; got an array of int64"),
        ((X[:0], STEPS[:0], "regression"), "x: .* at least one number"),
        ((X, STEPS[:5], "regression"), "y: expected a target for each of 12 rows; got 5"),
        ((X, STEPS, "ranking"), "task"),
        ((X, STEPS, "regression", 1), "bins"),
    ],
    ids=["matrix", "gap", "integers", "empty", "targets", "task", "bins"],
)
def test_invalid_arguments(arguments, problem):
    with pytest.raises(ArgumentError, match=problem):
        tree_edges(*arguments)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    with pytest.raises(MissingPackageError, match=r"decision tree needs .*pip install"):
        tree_edges(X, STEPS, "regression")
