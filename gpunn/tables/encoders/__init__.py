"""Kinds of columns: what is learned of one, and the numbers that its cells become.

Each is a module: NumPy, plain Python, ONNX and C make the same numbers of a cell. Tests compare
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from gpunn.rows.cells import Markers
from gpunn.tables.columns import Column, Kind
from gpunn.tables.encoders.base import ColumnEncoder, Encoded, GraphRows, Rows
from gpunn.tables.encoders.boolean import Boolean
from gpunn.tables.encoders.category import Category
from gpunn.tables.encoders.datetime import Datetime
from gpunn.tables.encoders.number import Number
from gpunn.tables.features import Feature, Group
from gpunn.tables.table import Cells, Coded

__all__ = ["KINDS", "Encoded", "GraphRows", "Rows", "kind_of", "places_of", "scaled_places"]

KINDS: dict[Kind, ColumnEncoder] = {
    each.name: each for each in (Boolean(), Number(), Datetime(), Category())
}
"""The first that takes all cells of a column is its kind."""


def kind_of(cells: Cells, markers: Markers) -> Kind:
    """Return the kind of a column. Text that spells only numbers, or only dates, is such.

    A number has no zero before its other digits: a column with such a code is a category.
    """
    if isinstance(cells, Coded) and cells.categorical:
        return "category"
    return next(name for name, kind in KINDS.items() if kind.accepts(cells, markers))


def features_of(columns: Iterable[Column]) -> list[Feature]:
    """Return what stands in the matrix, in its order."""
    used = (column for column in columns if not column.dropped)
    every = (feature for column in used for feature in KINDS[column.kind].features(column))
    return sorted(every, key=attrgetter("group"))


def scaled_features(columns: Iterable[Column]) -> list[Feature]:
    """Return what stands first in the matrix: numbers, then parts of dates."""
    return [feature for feature in features_of(columns) if feature.group <= Group.PART]
