"""Bin edges of a column, for `PiecewiseLinearEmbedding`."""

from __future__ import annotations

import numpy as np

from gpunn.configurable import check_choice, check_integer
from gpunn.errors import ArgumentError
from gpunn.optional import install_command, require
from gpunn.tabular.recipe import TASKS
from gpunn.typing import HostArray


def quantile_edges(x: HostArray, bins: int = 48) -> list[float]:
    """Return bin edges of a column: frequent numbers, and quantiles of all other numbers.

    A number is frequent if at least 1/bins of the rows have it, such as 0 in a column that is
    mostly 0. Each frequent number is an edge and replaces a bin. The other bins divide the rows
    with other numbers at their quantiles. If no number is frequent, the edges are the quantiles at
    0, 1/bins, ..., 1.

    Parameters
    ----------
    x : ndarray, shape (rows,)
        Numbers of the training rows, without missing values.
    bins : int
        Maximum number of bins. There are fewer bins if edges would be equal.

    Returns
    -------
    list of float
        At least two distinct numbers, ascending.

    Raises
    ------
    ArgumentError
        If x is not a column of finite floating-point numbers.

    Examples
    --------
    >>> gpunn.tabular.quantile_edges(np.arange(9.0), bins=4)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    >>> gpunn.tabular.quantile_edges(np.array([0.0] * 12 + [1.0, 2.0, 3.0, 4.0]), bins=4)
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    check_column(x)
    bins = check_integer("bins", bins)
    numbers, positions, counts = np.unique(
        x.astype(np.float64), return_inverse=True, return_counts=True
    )
    is_frequent = counts * bins >= len(x)
    others = np.sort(numbers[positions[~is_frequent[positions]]])
    left = min(bins - int(is_frequent.sum()), len(others))
    edges = [*numbers[is_frequent], numbers[0], numbers[-1]]
    if left > 0:
        quantiles = np.quantile(others, np.linspace(0, 1, left + 1))
        # With a rounded rank, a quantile that is one of the numbers would differ from it, and with
        # the number as another edge make a bin of width 1e-15. The outer bins have no limits, so
        # smaller or larger numbers would be divided by this width.
        ranks, rest = np.divmod(np.arange(left + 1) * (len(others) - 1), left)
        quantiles[rest == 0] = others[ranks[rest == 0]]
        edges += [*quantiles]
    return at_least_two(np.unique(edges))


def tree_edges(
    x: HostArray,
    y: HostArray,
    task: str,
    bins: int = 48,
    *,
    min_samples_leaf: int = 1,
    min_impurity_decrease: float = 0.0,
) -> list[float]:
    """Return bin edges that a decision tree computes, to separate rows with different targets.

    The tree is fitted only on this column, and has at most `bins` leaves. The tree's thresholds are
    the inner edges; the outer edges are the minimum and maximum of x (Gorishniy et al. 2022, "On
    Embeddings for Numerical Features in Tabular Deep Learning", section 3.2.2).

    Parameters
    ----------
    x : ndarray, shape (rows,)
        Numbers of the training rows, without missing values.
    y : ndarray, shape (rows,) or (rows, outputs)
        Targets of the training rows; classes may be of any type.
    task : {"classification", "regression"}
        Whether targets are classes or numbers.
    bins : int
        Maximum number of bins, at least two.
    min_samples_leaf : int
        Minimum number of training rows in each bin.
    min_impurity_decrease : float
        Each edge must decrease the variance of the targets, or the Gini impurity of the classes, by
        at least this number. An edge divides the rows of one tree node. The edge's decrease for
        these rows is multiplied by their fraction of all rows.

    Returns
    -------
    list of float
        At least two edges, ascending, and distinct in the dtype of x.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument is invalid.
    MissingPackageError
        If scikit-learn is not installed.

    Examples
    --------
    >>> x = np.arange(10.0)
    >>> gpunn.tabular.tree_edges(x, x >= 7, "classification")
    [0.0, 6.5, 9.0]
    """
    check_choice("task", task, TASKS)
    check_column(x)
    bins = check_integer("bins", bins, at_least=2)
    leaf = check_integer("min_samples_leaf", min_samples_leaf)
    if len(y) != len(x):
        raise ArgumentError(f"y: expected a target for each of {len(x)} rows; got {len(y)}")
    tree = require("sklearn.tree", "finding edges by a decision tree", install_command("sklearn"))
    name = "DecisionTreeClassifier" if task == "classification" else "DecisionTreeRegressor"
    fitted = getattr(tree, name)(
        max_leaf_nodes=bins,
        min_samples_leaf=leaf,
        min_impurity_decrease=min_impurity_decrease,
        random_state=0,
    ).fit(x[:, None], y)
    inner = fitted.tree_.children_left != fitted.tree_.children_right
    edges = np.array([x.min(), *fitted.tree_.threshold[inner], x.max()])
    return at_least_two(np.unique(edges.astype(x.dtype)))


def check_column(x: HostArray) -> None:
    if x.dtype.kind != "f":
        raise ArgumentError(f"x: expected floats; got an array of {x.dtype}")
    if x.ndim != 1 or not len(x):
        raise ArgumentError(f"x: expected a vector of at least one number; got shape {x.shape}")
    if not (finite := np.isfinite(x)).all():
        row = int(finite.argmin())
        raise ArgumentError(f"x: expected finite numbers; got {x[row]} in row {row}")


def at_least_two(edges: HostArray) -> list[float]:
    numbers = [float(edge) for edge in edges]
    return numbers if len(numbers) > 1 else [numbers[0], numbers[0] + max(1.0, abs(numbers[0]))]
