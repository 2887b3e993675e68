"""Kinds of columns whose cells are numbers, or have numbers as parts: what they have in common."""

from __future__ import annotations

import math
import textwrap
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from gpunn.rows.cells import Markers
from gpunn.tables.c_source import CSource
from gpunn.tables.columns import Column
from gpunn.tables.kinds.base import ColumnKind, Encoding, GraphRows
from gpunn.tables.layout import MISSING, Group, Place
from gpunn.tables.nodes import Value, beside, where
from gpunn.tables.scaling import Scaling
from gpunn.tables.table import Table

__all__ = ["Measured", "encode_parts"]

CYCLES = {"month": 12, "day of week": 7, "hour": 24}
"""After how many the parts begin again."""

CURVES = ("sine", "cosine")

REFUSED = "valid = 0, missing = 1;"
"""What is done in C with a cell that `Schema.encode` would refuse."""


def cycle_of(part: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray]:
    """Return sine and cosine of 2 pi part / period, by which 23 o'clock is near midnight."""
    angle = part * (2 * math.pi / period)
    return np.sin(angle), np.cos(angle)


def encode_parts(
    column: dict[str, Any],
    numbers: dict[str, float] | None,
    row: list[float],
    scaled: Callable[..., float],
) -> None:
    """Set what becomes of a cell's numbers, by their parts; None if they are missing."""
    if "missing" in column:
        row[column["missing"]] = float(numbers is None)
    for part, scale in column["parts"].items():
        number = scale["median"] if numbers is None else numbers[part]
        row[scale["place"]] = scaled(number, scale)
        if "sine" in scale and numbers is not None:
            angle = number * (2 * math.pi / CYCLES[part])
            row[scale["sine"]], row[scale["cosine"]] = math.sin(angle), math.cos(angle)


class Measured(ColumnKind):
    """A kind whose cells have parts that are numbers: a single one, "", or those of a date.

    Attributes
    ----------
    group : Group
        Of the parts.
    largest : float
        The largest number of ONNX's input that is accepted, and the opposite of the least.
    """

    group: ClassVar[Group]
    largest: ClassVar[float]

    @abstractmethod
    def parts(self, column: Column) -> Sequence[str]:
        """Return the parts that become numbers."""

    @abstractmethod
    def read(
        self, table: Table, name: str, markers: Markers
    ) -> tuple[Callable[[str], np.ndarray], np.ndarray]:
        """Return what gives the numbers of a part in new arrays, and which cells are missing."""

    @abstractmethod
    def nodes_of_parts(self, known: Value, parts: Sequence[tuple[int, str]]) -> Value:
        """Return parts in an ONNX graph, each of a column of `known`, which is 0 if missing."""

    @abstractmethod
    def missing_nodes(self, raw: Value, markers: Markers) -> Value:
        """Return which cells of an ONNX graph are missing."""

    @abstractmethod
    def c_missing(self, cell: str, markers: Iterable[str], source: CSource) -> tuple[str, str]:
        """Return the conditions in C by which a cell is missing, or else is refused."""

    @abstractmethod
    def c_part(self, cell: str, part: str, source: CSource) -> str:
        """Return the expression in C for a part."""

    def places(self, column: Column) -> list[Place]:
        parts = self.parts(column)
        found = [Place(column.name, part, self.group) for part in parts]
        found += [Place(column.name, what, Group.CYCLE) for _, _, what in curves_of(parts)]
        if column.has_indicator:
            found.append(Place(column.name, MISSING, Group.INDICATOR))
        return found

    def becomes(self, column: Column) -> str:
        parts = [part or self.name for part in self.parts(column)]
        return ", ".join([*parts, "missing or not"] if column.has_indicator else parts)

    def encode(self, rows: Encoding) -> None:
        column = rows.column
        numbers_of_part, missing = self.read(rows.table, column.name, rows.markers)
        if column.has_indicator:
            rows.write(MISSING, missing)
        elif missing.any():
            rows.findings.missing[column.name] = int(missing.sum())
        for part in self.parts(column):
            numbers = numbers_of_part(part)
            if part in CYCLES:
                for curve, cycle in zip(CURVES, cycle_of(numbers, CYCLES[part]), strict=True):
                    cycle[missing] = 0
                    rows.write(f"{part}, {curve}", cycle)
            rows.write_scaled(part, numbers, missing)

    def described(
        self, column: Column, place: Callable[[str], int], scale: Callable[[str], dict[str, Any]]
    ) -> dict[str, Any]:
        parts = self.parts(column)
        found = {part: {"place": place(part), **scale(part)} for part in parts}
        for part, curve, what in curves_of(parts):
            found[part][curve] = place(what)
        return {"parts": found, **({MISSING: place(MISSING)} if column.has_indicator else {})}

    def nodes(self, columns: Sequence[Column], rows: GraphRows) -> None:
        names = [column.name for column in columns]
        raw = beside([rows.inputs[name] for name in names])
        missing = self.missing_nodes(raw, rows.markers)
        known = where(missing, 0, raw)
        rows.fits.append(np.absolute(known) <= self.largest)
        parts = [
            (place, part) for place, column in enumerate(columns) for part in self.parts(column)
        ]
        if parts:
            keys = [Place(names[place], part) for place, part in parts]
            numbers = self.nodes_of_parts(known, parts)
            scaled = slice(rows.places[keys[0]], rows.places[keys[0]] + len(parts))
            medians = rows.scaling.median[scaled]
            filled = where(missing.take([place for place, _ in parts]), medians, numbers)
            rows.add(keys, rows.scaling.nodes(filled, scaled))
            self._nodes_of_cycles(parts, names, numbers, missing, rows)
        marked = [place for place, column in enumerate(columns) if column.has_indicator]
        if marked:
            keys = [Place(names[place], MISSING) for place in marked]
            rows.add(keys, missing.take(marked).astype("float64"))

    def _nodes_of_cycles(
        self,
        parts: Sequence[tuple[int, str]],
        names: Sequence[str],
        numbers: Value,
        missing: Value,
        rows: GraphRows,
    ) -> None:
        """Add sines and cosines of 2 pi number / period to an ONNX graph, 0 if one is missing.

        Of integers they are the same bits as in `cycle_of`. Edges of bins may lie between two of
        them that differ by rounding alone, as the cosines of a quarter and of three quarters of a
        year.
        """
        every = curves_of([part for _, part in parts])
        if not every:
            return
        sources = [source for source, (_, part) in enumerate(parts) if part in CYCLES]
        sources = [source for source in sources for _ in CURVES]
        numbers = numbers.take(sources)
        tables = [
            cycle_of(np.arange(CYCLES[part] + 1.0), CYCLES[part])[CURVES.index(curve)]
            for part, curve, _ in every
        ]
        whole = np.floor(numbers)
        starts = np.cumsum([0, *map(len, tables[:-1])])
        waves = numbers.constant(np.concatenate(tables)).take(whole.astype("int64") + starts, 0)
        if any(part == "hour" for part, _, _ in every):
            # Runtimes lack the cosine in float64, but not the sine.
            quarters = [math.pi / 2 if curve == "cosine" else 0 for _, curve, _ in every]
            angles = numbers * [2 * math.pi / CYCLES[part] for part, _, _ in every] + quarters
            waves = where(numbers == whole, waves, np.sin(angles))
        places = [parts[source][0] for source in sources]
        keys = [
            Place(names[place], what) for place, (_, _, what) in zip(places, every, strict=True)
        ]
        rows.add(keys, where(missing.take(places), 0, waves))

    def c(
        self,
        described: Mapping[str, Any],
        cell: str,
        scaling: type[Scaling],
        markers: Iterable[str],
        source: CSource,
    ) -> str:
        missing, refused = self.c_missing(cell, markers, source)
        text = f"int missing = {missing};\nif (!missing && {refused}) {REFUSED}\n"
        if MISSING in described:
            text += f"input[{described[MISSING]}] = missing;\n"
        for part, scale in described["parts"].items():
            constants, value = scaling.c(scale, source)
            number = self.c_part(cell, part, source)
            lines = f"{constants}double number = missing ? {scale['median']!r} : {number};\n"
            lines += f"input[{scale['place']}] = {value};\n"
            for curve, function in zip(CURVES, ("sin", "cos"), strict=True):
                if curve in scale:
                    angle = f"number * {2 * math.pi / CYCLES[part]!r}"
                    lines += f"input[{scale[curve]}] = missing ? 0 : {function}({angle});\n"
            text += f"{{\n{textwrap.indent(lines, '    ')}}}\n"
        return text


def curves_of(parts: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return part, curve and name of the curves of parts that come round."""
    return [
        (part, curve, f"{part}, {curve}") for part in parts if part in CYCLES for curve in CURVES
    ]
