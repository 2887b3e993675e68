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
    "check_encoded",
    "column_groups",
    "embedding_of_numbers",
    "first_layers",
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


def column_groups(
    schema: Schema,
    X: np.ndarray,
    embed: Callable[[np.ndarray], Layer] | None,
    max_one_hot: int,
    make: Callable[[bool, list[int], np.ndarray], Layer],
) -> list[Group]:
    """Return the groups of all columns: numbers, what follows them, and codes that are alike.

    `embed` makes the layer of the training rows' numbers, of which indicators, the last ones, are
    none; None leaves them as they are. `make` makes the layer of neighboring columns of codes: it
    takes whether each has at most `max_one_hot` categories, their numbers of codes, and the rows'.
    """
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
    """Raise an ArgumentError unless these are rows as the schema encodes them."""
    if X.ndim != 2 or X.shape[1] != schema.width or not len(X):
        raise ArgumentError(
            "X: expected the training rows as schema.encode returns them, of shape "
            f"(rows, {schema.width}); got shape {X.shape}"
        )


def embedding_of_numbers(
    kind: str, X: np.ndarray, size: int, sigma: float = 0.1, bins: int = 48
) -> Layer:
    """Return the layer that makes `size` numbers of each, with "pbld" the number itself among them.

    `sigma` is the standard deviation of the initial frequencies of periodic embeddings, and `bins`
    are the most of piecewise linear ones, which X, the training rows' numbers, divide.
    """
    if kind == "piecewise":
        return PiecewiseLinearEmbedding([quantile_edges(column, bins) for column in X.T], size)
    return PeriodicEmbedding(WAVES[kind], size - (kind == "pbld"), sigma, kind)
