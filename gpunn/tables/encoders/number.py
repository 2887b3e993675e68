"""Columns of numbers."""

import math
import sys
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from gpunn.errors import DataError
from gpunn.rows.cells import Markers, is_code, number_of
from gpunn.tables.cells import EXACT_INTEGERS, coded, numbers_of, remark_on_rounding
from gpunn.tables.column_names import is_named_as_identifier, is_named_as_period
from gpunn.tables.columns import Column
from gpunn.tables.encoders.base import CSource, Rows, wrong_cell
from gpunn.tables.encoders.numeric import Numeric, encode_parts
from gpunn.tables.features import Group
from gpunn.tables.onnx_nodes import Value
from gpunn.tables.remarks import FEW, Remarks
from gpunn.tables.table import Cells, Coded, Table

UNIQUE = 0.95
"""Minimum fraction of different numbers in a column of identifiers."""

DIGITS = 7
"""Integers with fewer digits, such as incomes, may by chance all have the same number of digits."""


def encode_number(
    column: dict[str, Any], cell: str, row: list[float], scaled: Callable[..., float]
) -> None:
    number = number_of(cell)
    if cell and (number is None or not math.isfinite(number)):
        raise ValueError(f"expected a finite number; got {cell!r}")
    encode_parts(column, None if number is None else {"": number}, row, scaled)


def finite_numbers(table: Table, name: str, markers: Markers) -> np.ndarray:
    cells = table.column(name)
    numbers, others = numbers_of(cells, markers)
    if others:
        raise wrong_cell(table, name, cells, others, "expected a number")
    infinite = np.isinf(numbers)
    if infinite.any():
        row = int(infinite.argmax())
        raise DataError(
            f"{table.place(name, row)}: expected a finite number; got {numbers[row]}. Correct "
            "the cell, or leave it empty"
        )
    return numbers


class Number(Numeric):
    name = "number"
    field = "double "
    cell = staticmethod(encode_number)
    values = staticmethod(finite_numbers)
    functions = MappingProxyType({"": np.asarray})
    group = Group.NUMBER
    largest = sys.float_info.max
    marked = True

    def accepts(self, cells: Cells, markers: Markers) -> bool:
        if isinstance(cells, np.ndarray):
            return cells.dtype.kind != "M"
        texts = (value.strip() for value in cells.values if isinstance(value, str))
        return not (
            any(is_code(text) and text not in markers for text in texts)
            or numbers_of(cells, markers)[1]
        )

    def remark(self, rows: Rows, present: np.ndarray, constant: bool, remarks: Remarks) -> bool:
        cells = rows.table.column(rows.name)
        if not (constant or rows.chosen):
            remarks.add(rows.every.doubts.get(rows.name, "") or remark_on_size(cells))
        if are_dates(present):
            remarks.add(
                f"integers such as {present[0]:.0f} look like dates, but are read as numbers: "
                "write dates such as 2026-05-31"
            )
        elif count := identifiers(rows.name, present):
            what = "every row has a different integer"
            if count < len(present):
                what = f"{count:,} different integers in {len(present):,} rows"
            remarks.add(f"{what}: if the column is an identifier, drop it")
        return constant and may_be_rounded(cells, present)

    def parts(self, column: Column) -> Sequence[str]:
        return ("",) if column.is_number else ()

    def part_nodes(self, known: Value, parts: Sequence[tuple[int, str]]) -> Value:
        numbers: Value = known.take([position for position, _ in parts])
        return numbers

    def c_missing(self, cell: str, source: CSource) -> tuple[str, str]:
        same = "".join(f" || {cell} == {marker}" for marker in source.markers)
        return f"{cell} != {cell}{same}", f"{cell} - {cell} != 0"

    def c_part(self, cell: str, part: str, source: CSource) -> str:
        return cell


def remark_on_size(cells: Cells) -> str:
    if isinstance(cells, Coded):
        return remark_on_rounding(cells.values)
    if cells.dtype.kind not in "iu":
        return ""
    large = np.abs(cells.astype(np.float64)) >= EXACT_INTEGERS
    return remark_on_rounding(cells[large].tolist())


def may_be_rounded(cells: Cells, present: np.ndarray) -> bool:
    """Return whether a column's equal numbers may be different integers, rounded to floats."""
    if not len(present) or abs(present[0]) < EXACT_INTEGERS:
        return False
    is_float = isinstance(cells, np.ndarray) and cells.dtype.kind == "f"
    return is_float or len(coded(cells).values) > 1


def are_dates(numbers: np.ndarray) -> bool:
    if len(numbers) < FEW or numbers.min() < 1900_00_00 or numbers.max() >= 2100_00_00:
        return False
    months, days = numbers // 100 % 100, numbers % 100
    return bool(
        ((months >= 1) & (months <= 12) & (days % 1 == 0) & (days >= 1) & (days <= 31)).all()
    )


def identifiers(name: str, numbers: np.ndarray) -> int:
    # Identifiers are integers, nearly all of them different. They number the rows, have the same
    # number of digits (at least `DIGITS`), or are in a column whose name is typical of identifiers.
    if len(numbers) < FEW or (numbers[:FEW] % 1 != 0).any() or (numbers % 1 != 0).any():
        return 0
    values = np.unique(numbers)
    if len(values) < UNIQUE * len(numbers):
        return 0
    low, high = float(values[0]), float(values[-1])
    counts_rows = len(values) == len(numbers) and high - low < 2 * len(values)
    have_equal_digits = low >= 10 ** (DIGITS - 1) and len(f"{low:.0f}") == len(f"{high:.0f}")
    is_like = (counts_rows or have_equal_digits) and not is_named_as_period(name)
    return len(values) if is_like or is_named_as_identifier(name) else 0
