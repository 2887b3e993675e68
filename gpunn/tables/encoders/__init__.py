"""Encoders of each kind of column for NumPy, plain Python, ONNX and C; tests compare results."""

from collections.abc import Iterable
from operator import attrgetter

from gpunn.rows.cells import Markers
from gpunn.tables.columns import Column, Kind
from gpunn.tables.encoders.base import Encoded, Encoder, GraphRows, Rows
from gpunn.tables.encoders.boolean import Boolean
from gpunn.tables.encoders.category import Category
from gpunn.tables.encoders.datetime import Datetime
from gpunn.tables.encoders.number import Number
from gpunn.tables.features import Feature, Group
from gpunn.tables.table import Cells, Coded

__all__ = ["KINDS", "Encoded", "GraphRows", "Rows", "features_of", "kind_of", "scaled_features"]

KINDS: dict[Kind, Encoder] = {
    each.name: each for each in (Boolean(), Number(), Datetime(), Category())
}


def kind_of(cells: Cells, markers: Markers) -> Kind:
    if isinstance(cells, Coded) and cells.categorical:
        return "category"
    return next(name for name, kind in KINDS.items() if kind.accepts(cells, markers))


def features_of(columns: Iterable[Column]) -> list[Feature]:
    used = (column for column in columns if not column.dropped)
    every = (feature for column in used for feature in KINDS[column.kind].features(column))
    return sorted(every, key=attrgetter("group"))


def scaled_features(columns: Iterable[Column]) -> list[Feature]:
    return [feature for feature in features_of(columns) if feature.group <= Group.PART]
