"""Detecting the format of a column's cells, and reading cells in this format."""

from collections.abc import Iterable
from datetime import time
from typing import NamedTuple

import numpy as np

from gpunn.rows.cells import Markers
from gpunn.rows.formats import in_standard_form
from gpunn.tables.cells import dates_of, numbers_of
from gpunn.tables.columns import Column, ColumnType, Kind
from gpunn.tables.date_formats import format_of_dates
from gpunn.tables.encoders import kind_of
from gpunn.tables.number_formats import format_of_numbers
from gpunn.tables.remarks import is_marker
from gpunn.tables.table import Cells, Coded, Table


class Reading(NamedTuple):
    kind: Kind
    form: str = ""
    doubt: str = ""


def reading_of(cells: Cells, markers: Markers, chosen: ColumnType | None = None) -> Reading:
    if chosen == "day/month/year" or chosen == "month/day/year" or chosen == "hour:minute":
        return Reading("datetime", chosen)
    kind = chosen or kind_of(cells, markers)
    if isinstance(cells, np.ndarray) or cells.categorical:
        return Reading(kind)
    if kind == "datetime" and any(isinstance(value, time) for value in cells.values):
        return Reading("datetime", "hour:minute")
    if chosen is None and kind == "category":
        values = [value for value in cells.values if not is_marker(value, markers)]
    elif chosen == "number" or chosen == "datetime":
        find = numbers_of if chosen == "number" else dates_of
        values = [cells.values[position] for position in find(cells, markers)[1]]
    else:
        return Reading(kind)
    if not values or not all(isinstance(value, str) for value in values):
        return Reading(kind)
    texts = [value.strip() for value in values]
    if chosen != "number" and (form := format_of_dates(texts)):
        return Reading("datetime", form)
    form, doubt = ("", "") if chosen == "datetime" else format_of_numbers(texts, bool(chosen))
    return Reading("number", form, doubt) if form else Reading(kind)


def standard_cells(cells: Cells, form: str, markers: Markers) -> tuple[Cells, dict[int, str]]:
    # Strings with another unit count as missing, and are also returned, by their codes.
    if not (form and isinstance(cells, Coded)):
        return cells, {}
    values: dict[object, int] = {}
    positions, others = [], {}
    for code, value in enumerate(cells.values):
        plain = value
        if isinstance(value, str) and not is_marker(value, markers):
            plain = in_standard_form(value.strip(), form)
        if plain is None:
            others[code] = value.strip()
        positions.append(-1 if plain is None else values.setdefault(plain, len(values)))
    return Coded(cells.take(np.array(positions, np.int64), -1), list(values)), others


def in_format(table: Table, name: str, reading: Reading, markers: Markers) -> Table:
    if not reading.form:
        return table
    cells = standard_cells(table.column(name), reading.form, markers)[0]
    return table.with_cells(name, cells, reading.doubt)


def in_formats(table: Table, columns: Iterable[Column], markers: Markers) -> Table:
    for column in columns:
        if column.name in table:
            table = in_format(table, column.name, Reading(column.kind, column.format), markers)
    return table
