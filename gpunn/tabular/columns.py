"""The first layers of a tabular model: separate layers for each kind of column."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.layers import ColumnGroups, Layer, PeriodicEmbedding, PiecewiseLinearEmbedding
from gpunn.tables import Schema
from gpunn.tabular.edges import quantile_edges

NUMBER_EMBEDDINGS = ("pbld", "pl", "plr", "piecewise", "none")

WAVES = {"pbld": 16, "pl": 48, "plr": 48}

# The authors of TabM use 48 bins, which are too coarse for columns where single numbers matter,
# such as round incomes; see docs/explanation/benchmarks.md. On two tables of 7,000 and 8,700 rows,
# about 128 bins were slightly worse than 48.
FEWEST_BINS, MOST_BINS, ROWS_OF_BIN = 48, 128, 160

# In some columns, such as days, each distinct number is the edge of a bin. Such a column has at
# most MOST_VALUES distinct numbers, each in eight training rows on average. Between four and eight
# rows, the number of bins increases linearly, so that a few rows more or less change little. Such a
# column's numbers also occur about equally often: the variance of their counts is at most
# DISPERSION times the mean count. (For random draws, variance and mean are equal.) More edges did
# not improve results for rounded measurements, which occur unequally often.
MOST_VALUES, ROWS_OF_VALUE, DISPERSION = 1024, (4, 8), 2


class Group(NamedTuple):
    columns: slice
    layers: list[Layer]

    @property
    def width(self) -> int:
        return int(self.columns.stop - self.columns.start)


def first_layers(groups: Sequence[Group]) -> list[Layer]:
    used = [group for group in groups if group.width]
    if len(used) == 1:
        return used[0].layers
    return [
        ColumnGroups(
            [
                {"columns": (group.columns.start, group.columns.stop), "layers": group.layers}
                for group in used
            ]
        )
    ]


def column_groups(
    schema: Schema,
    X: np.ndarray,
    embed: Callable[[np.ndarray], Layer] | None,
    max_one_hot: int,
    make: Callable[[bool, list[int], np.ndarray], Layer],
) -> list[Group]:
    # `embed` gets the numbers of the training rows and returns a layer for them. The last numbers,
    # which mark missing values, are not embedded. `make` returns the layer for adjacent code
    # columns, given whether each of them has at most `max_one_hot` categories, their numbers of
    # codes, and the codes of the training rows.
    start = len(schema.numbers)
    embedded = 0
    if embed is not None:
        embedded = start - sum(column.has_indicator for column in schema.columns)
    groups = [Group(slice(embedded, start), [])]
    if embed is not None and embedded:
        groups.insert(0, Group(slice(0, embedded), [embed(X[:, :embedded])]))
    for few, run in groupby(schema.categories, lambda column: column.size - 1 <= max_one_hot):
        sizes = [column.size for column in run]
        columns = slice(start, start + len(sizes))
        groups.append(Group(columns, [make(few, sizes, X[:, columns])]))
        start = columns.stop
    return groups


def check_encoded(schema: Schema, X: np.ndarray) -> None:
    if X.ndim != 2 or X.shape[1] != schema.width or not len(X):
        raise ArgumentError(
            "X: expected the training rows as schema.encode returns them, of shape "
            f"(rows, {schema.width}); got shape {X.shape}"
        )


def embedding_of_numbers(
    kind: str, X: np.ndarray, size: int, sigma: float = 0.1, bins: int | None = 48
) -> Layer:
    # For "pbld", one of the outputs is the number itself. `sigma` is the standard deviation of the
    # initial frequencies of periodic embeddings. The edges of bins are quantiles of X, which holds
    # the numeric columns of the training rows.
    if kind != "piecewise":
        return PeriodicEmbedding(WAVES[kind], size - (kind == "pbld"), sigma, kind)
    edges = [quantile_edges(x, default_bins(x) if bins is None else bins) for x in X.T]
    groups, start = list[Group](), 0
    # All columns of a layer have as many components as the column with the most bins.
    for _, run in groupby(edges, lambda each: len(each) > MOST_BINS + 1):
        layer = PiecewiseLinearEmbedding(list(run), size)
        stop = start + len(layer.edges)
        groups.append(Group(slice(start, stop), [layer]))
        start = stop
    (first,) = first_layers(groups)
    return first


def default_bins(x: np.ndarray) -> int:
    counts = np.sort(np.unique(x, return_counts=True)[1])
    bins = bins_for(len(x))
    if len(counts) > bins:
        counts = counts[:-1]  # the most frequent number may stand for missing values
    few, many = ROWS_OF_VALUE
    share = (counts.mean() - few) / (many - few)
    is_even = len(counts) <= MOST_VALUES and counts.var() <= DISPERSION * counts.mean()
    if is_even and share >= 1:
        return len(x)  # every number is frequent, so it is an edge
    return bins + int(is_even * max(0.0, share) * max(0, len(counts) - bins))


def bins_for(rows: int) -> int:
    return min(max(FEWEST_BINS, rows // ROWS_OF_BIN), MOST_BINS)
