"""The beginning of a network for a table: each kind of column through layers of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.layers import ColumnGroups, Layer, PeriodicEmbedding, PiecewiseLinearEmbedding
from gpunn.tables import Schema
from gpunn.tabular.edges import quantile_edges

__all__ = [
    "NUMBER_EMBEDDINGS",
    "Group",
    "category_groups",
    "check_encoded",
    "embedding_of_numbers",
    "first_layers",
    "indicators",
]

NUMBER_EMBEDDINGS = ("pbld", "pl", "plr", "piecewise", "none")
"""How `realmlp` and `tabm` can embed numbers."""

WAVES = {"pbld": 16, "pl": 48, "plr": 48}
"""Frequencies of each number."""


class Group(NamedTuple):
    """Neighbouring columns of a schema's matrix, and the layers that they go through, if any."""

    columns: slice
    layers: list[Layer]

    @property
    def width(self) -> int:
        """How many columns there are."""
        return int(self.columns.stop - self.columns.start)


def first_layers(groups: Sequence[Group]) -> list[Layer]:
    """Return the layers that take a row of the matrix; groups without columns are left out."""
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


def category_groups(
    schema: Schema,
    X: np.ndarray,
    max_one_hot: int,
    make: Callable[[bool, list[int], np.ndarray], Layer],
) -> list[Group]:
    """Return a group for each run of neighbouring columns of codes that are treated alike.

    Parameters
    ----------
    schema : Schema
    X : ndarray, shape (rows, schema.width)
        The training rows.
    max_one_hot : int
        The most categories that are few.
    make : function
        Takes whether a run's columns have few categories, their numbers of codes, and the training
        rows' codes; and returns the layer.
    """
    groups, start = [], len(schema.numbers)
    for few, run in groupby(schema.categories, lambda column: column.size - 1 <= max_one_hot):
        sizes = [column.size for column in run]
        columns = slice(start, start + len(sizes))
        groups.append(Group(columns, [make(few, sizes, X[:, columns])]))
        start = columns.stop
    return groups


def indicators(schema: Schema) -> int:
    """Return how many columns, the last ones of the numbers, tell whether a value is missing."""
    return sum(column.has_indicator for column in schema.columns)


def check_encoded(schema: Schema, X: np.ndarray) -> None:
    """Raise an ArgumentError unless these are rows as the schema encodes them."""
    if X.ndim != 2 or X.shape[1] != schema.width or not len(X):
        raise ArgumentError(
            "X: expected the training rows as schema.encode returns them, of shape "
            f"(rows, {schema.width}); got shape {X.shape}"
        )


def embedding_of_numbers(
    kind: str, X: np.ndarray, size: int, sigma: float = 0.1, bins: int = 48
) -> Layer:
    """Return the layer that makes several numbers of each.

    Parameters
    ----------
    kind : {"pbld", "pl", "plr", "piecewise"}
    X : ndarray, shape (rows, columns)
        The training rows' numbers.
    size : int
        What each becomes; with "pbld" the number itself is one of them.
    sigma : float
        Standard deviation of the initial frequencies of periodic embeddings.
    bins : int
        Most bins of piecewise linear embeddings.
    """
    if kind == "piecewise":
        return PiecewiseLinearEmbedding([quantile_edges(column, bins) for column in X.T], size)
    return PeriodicEmbedding(WAVES[kind], size - (kind == "pbld"), sigma, kind)
