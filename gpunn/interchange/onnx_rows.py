"""A table's rows as the inputs of an ONNX graph, and what its schema makes of them.

Each column that the schema uses is an input (rows, 1). All is computed in float64, in a few
operators for all columns of a kind: `gpunn.tables.schema` says what.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.interchange.onnx_dates import curves_of_parts, parts_of_dates
from gpunn.interchange.onnx_graph import Graph
from gpunn.interchange.onnx_scaling import scaled
from gpunn.tables import Schema
from gpunn.tables.cells import Markers, spellings
from gpunn.tables.columns import Column
from gpunn.tables.dates import PARTS
from gpunn.tables.layout import CURVES, MISSING, Place, scaled_places, unscaled_places
from gpunn.tables.learning import MOST_YEARS
from gpunn.typing import Shape

__all__ = ["EncodedRows", "column_inputs", "encoded_rows", "kinds_of_columns"]

ML = "ai.onnx.ml"
"""The domain of ONNX's operators for tables."""

YEAR = 31_556_952
"""Seconds, in the mean of 400 years."""

LIMITS = {"number": float(np.finfo(np.float64).max), "datetime": float(MOST_YEARS * YEAR)}
"""The largest numbers that are taken, by kind of column."""


@dataclass(frozen=True)
class EncodedRows:
    """Names of what becomes of rows.

    Attributes
    ----------
    matrix : str
        What `Schema.encode` returns, in the network's dtype.
    accepted : str or None
        Booleans, shape (rows, 1): False where `Schema.encode` would raise an error, since a number
        is infinite or too large. None if the table has neither numbers nor dates.
    """

    matrix: str
    accepted: str | None


def column_inputs(schema: Schema) -> dict[str, tuple[str, Shape]]:
    """Return dtype and shape of each input: categories are text, all others float64."""
    return {
        column.name: ("object" if column.kind == "category" else "float64", (1,))
        for column in used_columns(schema)
    }


def kinds_of_columns(schema: Schema) -> dict[str, str]:
    """Return the kind of each input, for the metadata of a file."""
    return {column.name: column.kind for column in used_columns(schema)}


def used_columns(schema: Schema) -> list[Column]:
    """Return the columns that the schema does not drop."""
    return [column for column in schema.columns if not column.dropped]


def encoded_rows(graph: Graph, schema: Schema) -> EncodedRows:
    """Add what the schema makes of rows.

    Raises
    ------
    ExportError
        If the schema's scaling is not one of gpunn's own.
    """
    columns = used_columns(schema)
    measured = [column for column in columns if not column.is_category]
    pieces, fits = list[str](), None
    if measured:
        cells = Cells(graph, measured, Markers.of(schema.missing_values))
        pieces, fits = cells.encoded(schema), cells.fits
    coded = [column for column in columns if column.is_category]
    if coded:
        pieces.append(codes(graph, coded))
    exact = joined(graph, pieces, "schema.exact")
    matrix = graph.add("Cast", exact, name="schema", to=graph.element_type(graph.dtype))
    if fits is None:
        return EncodedRows(matrix, None)
    size = graph.add("Abs", matrix, name="schema.sizes")
    largest = graph.number(float(np.finfo(graph.dtype).max), "schema.largest")
    finite = graph.add("LessOrEqual", size, largest, name="schema.finite")
    both = graph.add("Concat", fits, finite, name="schema.checks", axis=1)
    numbers = graph.add("Cast", both, name="schema.checks.numbers", to=graph.element_type("int32"))
    axes = graph.integers([1], "schema.axes")
    every = graph.add("ReduceMin", numbers, axes, name="schema.every", keepdims=1)
    accepted = graph.add("Cast", every, name="schema.accepted", to=graph.element_type("bool"))
    return EncodedRows(matrix, accepted)


def joined(graph: Graph, columns: Sequence[str], name: str) -> str:
    """Return columns side by side."""
    return columns[0] if len(columns) == 1 else graph.add("Concat", *columns, name=name, axis=1)


class Cells:
    """Columns of numbers and dates side by side, and which of their cells are missing.

    Parameters
    ----------
    graph : Graph
    columns : sequence of Column
        At least one.
    markers : Markers
        Numbers that mean a missing value, in columns of numbers.

    Attributes
    ----------
    fits : str
        Name of booleans: whether each cell is missing, or not too large.
    """

    def __init__(self, graph: Graph, columns: Sequence[Column], markers: Markers) -> None:
        self._graph, self._columns = graph, columns
        self._places = {column.name: place for place, column in enumerate(columns)}
        raw = joined(graph, [column.name for column in columns], "schema.cells")
        self._missing = graph.add("IsNaN", raw, name="schema.missing")
        for count, marker in enumerate(sorted(each for each in markers.numbers if each == each)):
            # NaN equals nothing: dates have no such markers.
            row = [marker if column.kind == "number" else math.nan for column in columns]
            name = f"schema.marker.{count}"
            same = graph.add("Equal", raw, graph.doubles(row, f"{name}.numbers"), name=name)
            self._missing = graph.add("Or", self._missing, same, name=f"{name}.or_missing")
        zero = graph.doubles(0, "schema.zero")
        self._known = graph.add("Where", self._missing, zero, raw, name="schema.known")
        size = graph.add("Abs", self._known, name="schema.cells.sizes")
        limits = graph.doubles([LIMITS[column.kind] for column in columns], "schema.limits")
        self.fits = graph.add("LessOrEqual", size, limits, name="schema.fits")

    def encoded(self, schema: Schema) -> list[str]:
        """Return the names of matrices in float64: numbers, scaled, cycles, and indicators."""
        places = scaled_places(schema.columns)
        pieces = []
        if places:
            source = self._source(places)
            medians = self._graph.doubles(schema.scaling.median, "schema.medians")
            missing = self._missing_of(places, "schema.scaled.missing")
            values = self._graph.add("Where", missing, medians, source, name="schema.values")
            pieces.append(scaled(self._graph, schema.scaling, values))
            others = unscaled_places(schema.columns)
            cycles = [place for place in others if place.what.endswith(CURVES)]
            if cycles:
                pieces.append(self._cycles(cycles, places, source))
        indicators = [
            Place(column.name, MISSING) for column in self._columns if column.has_indicator
        ]
        if indicators:
            missing = self._missing_of(indicators, "schema.indicators.missing")
            double = self._graph.element_type("float64")
            pieces.append(self._graph.add("Cast", missing, name="schema.indicators", to=double))
        return pieces

    def _chosen(self, source: str, places: Sequence[int], name: str) -> str:
        """Return columns of a matrix."""
        index = self._graph.integers(places, f"{name}.columns")
        return self._graph.add("Gather", source, index, name=name, axis=1)

    def _missing_of(self, places: Sequence[Place], name: str) -> str:
        """Return whether the cells are missing from which something is made."""
        return self._chosen(self._missing, [self._places[place.column] for place in places], name)

    def _source(self, places: Sequence[Place]) -> str:
        """Return what is to be scaled: numbers and parts of dates, 0 where they are missing."""
        numbers = [self._places[place.column] for place in places if not place.what]
        pieces = []
        if numbers:
            pieces.append(self._chosen(self._known, numbers, "schema.numbers"))
        of_dates = [place for place in places if place.what]
        if of_dates:
            pieces.append(self._parts(of_dates))
        return joined(self._graph, pieces, "schema.source")

    def _parts(self, places: Sequence[Place]) -> str:
        """Return parts of dates side by side."""
        graph = self._graph
        columns = list(dict.fromkeys(place.column for place in places))
        seconds = self._chosen(
            self._known, [self._places[column] for column in columns], "schema.dates.known"
        )
        ends = (
            graph.doubles(sign * LIMITS["datetime"], f"schema.dates.{name}")
            for name, sign in (("least", -1), ("largest", 1))
        )
        seconds = graph.add("Clip", seconds, *ends, name="schema.dates.seconds")
        wanted = [part for part in PARTS if any(place.what == part for place in places)]
        parts = parts_of_dates(graph, seconds, wanted)
        every = joined(graph, [parts[part] for part in wanted], "schema.dates.parts")
        order = [
            wanted.index(place.what) * len(columns) + columns.index(place.column)
            for place in places
        ]
        return self._chosen(every, order, "schema.parts")

    def _cycles(self, cycles: Sequence[Place], places: Sequence[Place], source: str) -> str:
        """Return sines and cosines of parts of dates, 0 where they are missing."""
        graph = self._graph
        curves = [cycle.what.rpartition(", ")[::2] for cycle in cycles]
        columns = [
            places.index(Place(cycle.column, part))
            for cycle, (part, _) in zip(cycles, curves, strict=True)
        ]
        numbers = self._chosen(source, columns, "schema.cycles.numbers")
        waves = curves_of_parts(graph, numbers, curves)
        missing = self._missing_of(cycles, "schema.cycles.missing")
        zero = graph.doubles(0, "schema.cycles.zero")
        return graph.add("Where", missing, zero, waves, name="schema.cycles")


# ------------------------------------------------------------------------------------- categories


def codes(graph: Graph, columns: Sequence[Column]) -> str:
    """Return the codes of categories and booleans side by side, in float64."""
    found = []
    for count, column in enumerate(columns):
        name = f"schema.code.{count}"
        if column.kind == "boolean":
            found.append(code_of_boolean(graph, column, name))
        else:
            found.append(code_of_category(graph, column, name))
    whole = joined(graph, found, "schema.codes.whole")
    return graph.add("Cast", whole, name="schema.codes", to=graph.element_type("float64"))


def code_of_category(graph: Graph, column: Column, name: str) -> str:
    """Return the codes of texts; 0 if one is missing or unknown."""
    known = spellings(column.categories) or {"": 0}
    return graph.add(
        "LabelEncoder",
        column.name,
        name=name,
        domain=ML,
        keys_strings=list(known),
        values_int64s=list(known.values()),
        default_int64=0,
    )


def code_of_boolean(graph: Graph, column: Column, name: str) -> str:
    """Return 2 for 1, 1 for 0, and 0 for whatever else, as which NaN counts."""
    code = graph.integers(0, f"{name}.none")
    for value, text in enumerate(column.categories):
        number = graph.doubles(value, f"{name}.{text}.number")
        same = graph.add("Equal", column.name, number, name=f"{name}.is_{text}")
        own = graph.integers(value + 1, f"{name}.{text}.code")
        code = graph.add("Where", same, own, code, name=f"{name}.{text}")
    return code
