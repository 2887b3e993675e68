"""The encoder of number columns, and of date columns, whose parts are numbers."""

import math
import textwrap
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from gpunn.rows.cells import Markers
from gpunn.tables.columns import Column
from gpunn.tables.encoders.base import CSource, Encoded, Encoder, GraphRows, Rows
from gpunn.tables.features import MISSING, Feature, Group
from gpunn.tables.onnx_nodes import Value, concatenate, where
from gpunn.tables.remarks import Remarks
from gpunn.tables.table import Table
from gpunn.tables.unseen_values import UnseenValues

CYCLES = {"month": 12, "day of week": 7, "hour": 24}

CURVES = ("sine", "cosine")


def encode_parts(
    column: dict[str, Any],
    numbers: dict[str, float] | None,
    row: list[float],
    scaled: Callable[..., float],
) -> None:
    positions = column["places"]
    if "missing" in positions:
        row[positions["missing"]] = float(numbers is None)
    for part, scale in column["scales"].items():
        number = scale["median"] if numbers is None else numbers[part]
        row[positions[part]] = scaled(number, scale)
        if part in CYCLES and numbers is not None:
            angle = number * (2 * math.pi / CYCLES[part])
            row[positions[f"{part}, sine"]] = math.sin(angle)
            row[positions[f"{part}, cosine"]] = math.cos(angle)


class Numeric(Encoder):
    """Columns of numbers or dates.

    A date has several parts, such as the month. A number has only one part, whose name is "".
    """

    functions: ClassVar[Mapping[str, Callable[[np.ndarray], np.ndarray]]]
    """Maps each part to the function that computes the part from an array."""
    group: ClassVar[Group]
    largest: ClassVar[float]
    """The largest absolute value of a cell that an ONNX graph accepts."""
    marked: ClassVar[bool]
    """Whether some numbers can mean a missing value."""

    @staticmethod
    @abstractmethod
    def values(table: Table, name: str, markers: Markers) -> np.ndarray:
        """Return the cells of a column in a new array, with NaN or NaT for missing cells."""

    def remark(self, rows: Rows, present: np.ndarray, constant: bool, remarks: Remarks) -> bool:
        """Add remarks on a column; return whether rounding may have made the column constant."""
        return False

    def parts(self, column: Column) -> Sequence[str]:
        return column.parts

    @abstractmethod
    def part_nodes(self, known: Value, parts: Sequence[tuple[int, str]]) -> Value:
        """Return an array with one column for each pair (i, part) in `parts`.

        The column contains this part, such as the month, of the cells `known[:, i]`.
        """

    @abstractmethod
    def c_missing(self, cell: str, source: CSource) -> tuple[str, str]:
        """Return two C conditions: that a cell is missing, and that the cell's value is invalid."""

    @abstractmethod
    def c_part(self, cell: str, part: str, source: CSource) -> str:
        """Return the C expression for a part of a cell, such as the month."""

    def learn(self, rows: Rows) -> tuple[Column, Mapping[str, np.ndarray]]:
        values = self.values(rows.table, rows.name, rows.markers)
        present = values[~np.isnan(values)]
        missing = len(values) - len(present)
        remarks = Remarks(rows.name, missing, len(values))
        parts = {
            part: function(present).astype(np.float64) for part, function in self.functions.items()
        }
        varied = {
            part: each for part, each in parts.items() if len(each) and each.min() < each.max()
        }
        dropped = remarks.drop(not varied, self.remark(rows, present, not varied, remarks))
        column = Column(
            name=rows.name,
            kind=self.name,
            parts=tuple(filter(None, varied)),
            missing=missing,
            constant=not varied,
            dropped=dropped,
            reported=remarks.text,
        )
        return column, varied

    def features(self, column: Column) -> list[Feature]:
        parts = self.parts(column)
        features = [Feature(column.name, part, self.group) for part in parts]
        features += [Feature(column.name, aspect, Group.CYCLE) for *_, aspect in curves_of(parts)]
        if column.has_indicator:
            features.append(Feature(column.name, MISSING, Group.INDICATOR))
        return features

    def becomes(self, column: Column) -> str:
        name = f"{self.name} in {column.unit}" if column.unit else self.name
        parts = [part or name for part in self.parts(column)]
        return ", ".join([*parts, "missing or not"] if column.has_indicator else parts)

    def encode(
        self, column: Column, table: Table, markers: Markers, unseen: UnseenValues
    ) -> Iterator[Encoded]:
        values = self.values(table, column.name, markers)
        missing = np.isnan(values)
        if column.has_indicator:
            yield Encoded([Feature(column.name, MISSING)], missing)
        else:
            others = sum(unseen.unknown.get(column.name, {}).values())  # have another unit
            if (count := int(missing.sum())) > others:
                unseen.missing[column.name] = count - others
        values[missing] = 0
        for part in self.parts(column):
            numbers = self.functions[part](values).astype(np.float64)
            if part in CYCLES:
                for curve, cycle in zip(CURVES, cycle_of(numbers, CYCLES[part]), strict=True):
                    cycle[missing] = 0
                    yield Encoded([Feature(column.name, f"{part}, {curve}")], cycle)
            yield Encoded([Feature(column.name, part)], numbers, missing)

    def nodes(self, columns: Sequence[Column], rows: GraphRows) -> Iterator[Encoded]:
        names = [column.name for column in columns]
        raw = concatenate([rows.inputs[name] for name in names])
        missing = np.isnan(raw)
        for marker in sorted(each for each in rows.markers.numbers if self.marked and each == each):
            missing = missing | (raw == marker)
        known = where(missing, 0, raw)
        rows.fits.append(np.absolute(known) <= self.largest)
        parts = [(k, part) for k, column in enumerate(columns) for part in self.parts(column)]
        if parts:
            features = [Feature(names[k], part) for k, part in parts]
            numbers = self.part_nodes(known, parts)
            yield Encoded(features, numbers, missing.take([k for k, _ in parts]))
            sources = [source for source, (_, part) in enumerate(parts) if part in CYCLES]
            if sources:
                sources = [source for source in sources for _ in CURVES]
                curves = curves_of(part for _, part in parts)
                owners = [parts[source][0] for source in sources]
                features = [
                    Feature(names[k], aspect)
                    for k, (*_, aspect) in zip(owners, curves, strict=True)
                ]
                waves = waves_of(numbers.take(sources), curves)
                yield Encoded(features, where(missing.take(owners), 0, waves))
        marked = [k for k, column in enumerate(columns) if column.has_indicator]
        if marked:
            features = [Feature(names[k], MISSING) for k in marked]
            yield Encoded(features, missing.take(marked).astype("float64"))

    def c(self, described: Mapping[str, Any], cell: str, source: CSource) -> str:
        positions = described["places"]
        missing, refused = self.c_missing(cell, source)
        text = f"int missing = {missing};\n"
        text += f"if (!missing && {refused}) valid = 0, missing = 1;\n"
        if MISSING in positions:
            text += f"input[{positions[MISSING]}] = missing;\n"
        for part, scale in described["scales"].items():
            constants, value = source.scaled(scale)
            number = self.c_part(cell, part, source)
            lines = f"{constants}double number = missing ? {scale['median']!r} : {number};\n"
            lines += f"input[{positions[part]}] = {value};\n"
            for (_, _, aspect), function in zip(curves_of([part]), ("sin", "cos"), strict=False):
                angle = f"number * {2 * math.pi / CYCLES[part]!r}"
                lines += f"input[{positions[aspect]}] = missing ? 0 : {function}({angle});\n"
            text += f"{{\n{textwrap.indent(lines, '    ')}}}\n"
        return text


def cycle_of(part: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray]:
    angle = part * (2 * math.pi / period)
    return np.sin(angle), np.cos(angle)


def curves_of(parts: Iterable[str]) -> list[tuple[str, str, str]]:
    return [
        (part, curve, f"{part}, {curve}") for part in parts if part in CYCLES for curve in CURVES
    ]


def waves_of(numbers: Value, curves: Sequence[tuple[str, str, str]]) -> Value:
    # For integers, the results are bitwise identical to the results of `cycle_of`. The edge of a
    # bin may separate values that differ only by rounding, such as the cosines of one quarter and
    # three quarters of a year.
    tables = [
        cycle_of(np.arange(CYCLES[part] + 1.0), CYCLES[part])[CURVES.index(curve)]
        for part, curve, _ in curves
    ]
    whole = np.floor(numbers)
    starts = np.cumsum([0, *map(len, tables[:-1])])
    waves: Value = numbers.constant(np.concatenate(tables)).take(whole.astype("int64") + starts, 0)
    if all(part != "hour" for part, _, _ in curves):
        return waves
    # Runtimes lack the cosine in float64, but not the sine.
    quarters = [math.pi / 2 if curve == "cosine" else 0 for _, curve, _ in curves]
    angles = numbers * [2 * math.pi / CYCLES[part] for part, _, _ in curves] + quarters
    mixed: Value = where(numbers == whole, waves, np.sin(angles))
    return mixed
