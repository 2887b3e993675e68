"""Splits by a column of times or groups, and advice if a random split may leak."""

from collections.abc import Container, Iterable
from datetime import datetime
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.rows.cells import Markers, date_of
from gpunn.rows.formats import DATE_FORMATS
from gpunn.tables.cells import category_names, coded
from gpunn.tables.column_names import is_named_as_identifier, is_named_as_time, quoted
from gpunn.tables.columns import Column
from gpunn.tables.encoders.base import check_complete
from gpunn.tables.encoders.datetime import valid_dates
from gpunn.tables.encoders.number import finite_numbers
from gpunn.tables.formats import Reading, in_format, reading_of
from gpunn.tables.remarks import FEW
from gpunn.tables.schema import ON_REQUEST
from gpunn.tables.table import Coded, Table

MIN_GROUPS, MIN_NAMES = 3, 10
"""Columns with fewer distinct values are not reported as identifiers. `MIN_NAMES` is for values
without digits, such as "phone", which may be kinds of things."""

SHARED = 0.1
"""In reported columns, at least this fraction of rows share an identifier with another row."""

OFTEN_MISSING = 0.1
"""A column with a larger fraction of missing values may be dates of events such as returns."""

UNSURE = ", so the row can't be assigned to a split"


def check_split(argument: str, value: str) -> str:
    kind, _, column = value.partition("=")
    if value != "random" and not (kind in ("time", "group") and column):
        raise ArgumentError(
            f'{argument}: expected "time=COLUMN", "group=COLUMN" or "random"; got {value!r}'
        )
    return value


def split_by(value: str | None) -> tuple[str, str] | None:
    kind, _, column = (value or "random").partition("=")
    return (kind, column) if column else None


def group_left_out(value: str | None, columns: Container[str]) -> list[str]:
    # By default the group column is not an input, since new rows belong to unseen groups. A kind in
    # `columns` makes it one.
    kind, column = split_by(value) or ("", "")
    return [column] if kind == "group" and column not in columns else []


def times_of(table: Table, name: str, markers: Markers, chosen: str = "") -> np.ndarray:
    # Dates with an offset from UTC are compared as instants. `chosen` may be the order of a date's
    # parts.
    reading = reading_of_times(table, name, markers, chosen)
    table, kind = in_format(table, name, reading, markers), reading.kind
    if kind == "number":
        numbers = finite_numbers(table, name, markers)
        check_complete(table, name, np.isnan(numbers), "time", UNSURE)
        return numbers
    advice = "To split by time, every row needs a date or a number; correct these cells"
    dates = valid_dates(table, name, markers, "" if kind == "datetime" else advice)
    times = dates.astype(np.int64) - offsets_of(table.column(name))
    check_complete(table, name, np.isnat(dates), "time", UNSURE)
    return times


def reading_of_times(table: Table, name: str, markers: Markers, chosen: str) -> Reading:
    if chosen in DATE_FORMATS:
        return Reading("datetime", chosen)
    return reading_of(table.column(name), markers)


def offsets_of(cells: Any) -> np.ndarray | int:
    if not isinstance(cells, Coded):
        return 0
    offsets = np.zeros(len(cells.values), np.int64)
    for position, value in enumerate(cells.values):
        if isinstance(value, str) and len(value) > len("2026-05-31 14:30"):
            value = date_of(value, keep_offset=True)
        if isinstance(value, datetime) and (offset := value.utcoffset()) is not None:
            offsets[position] = round(offset.total_seconds() * 1e6)
    return cells.take(offsets, 0)


def groups_of(table: Table, name: str, markers: Markers) -> np.ndarray:
    cells = coded(table.column(name))
    texts = category_names(cells.values, markers)
    numbers = {text: number for number, text in enumerate(sorted(filter(None, {*texts})))}
    codes = np.array([numbers.get(text, -1) for text in texts], dtype=np.int64)  # type: ignore[arg-type]
    groups = cells.take(codes, -1)
    check_complete(table, name, groups < 0, "group", UNSURE)
    return groups


def split_values(
    table: Table, kind: str, name: str, markers: Markers, chosen: str = ""
) -> np.ndarray:
    if kind == "time":
        return times_of(table, name, markers, chosen)
    return groups_of(table, name, markers)


def rows_in_common(
    table: Table, others: Table, kind: str, name: str, markers: Markers, chosen: str = ""
) -> int:
    # Counts rows that are not later than the table's latest row, or are in a group of the table.
    if kind == "time":
        latest = times_of(table, name, markers, chosen).max()
        reading = reading_of_times(table, name, markers, chosen)
        times = times_of(in_format(others, name, reading, markers), name, markers, chosen)
        return int((times <= latest).sum())
    cells = coded(others.column(name))
    known = {*category_names(coded(table.column(name)).values, markers)} - {None}
    shared = [text in known for text in category_names(cells.values, markers)]
    return int(cells.take(np.array(shared, dtype=bool), False).sum())


def advice_on_splits(table: Table, columns: Iterable[Column], markers: Markers) -> list[str]:
    # `columns` may come from another table's schema.
    advice = []
    for column in columns:
        name = column.name
        if column.reported == ON_REQUEST or name not in table or table.rows < FEW:
            continue
        complete = "remove the rows without a value, and " if column.missing else ""
        if has_times(table, column):
            advice.append(
                f"{name}: rows have a time, and a random split trains on rows that are later than "
                f"validation rows. To predict later rows from earlier ones, {complete}use "
                f"--split time={quoted(name)}"
            )
        elif is_named_as_identifier(name) and (count := shared_values(table, name, markers)):
            advice.append(
                f"{name}: {count:,} distinct values in {table.rows:,} rows, so rows with the same "
                "value may belong together, and a random split separates them. To keep them "
                f"together, {complete}use --split group={quoted(name)}"
            )
    return advice


def has_times(table: Table, column: Column) -> bool:
    if column.missing > OFTEN_MISSING * table.rows or column.is_time_of_day:
        return False
    if column.kind == "datetime":
        return len(coded(table.column(column.name)).values) > 1
    return is_named_as_time(column.name) and has_integers(table, column.name)


def has_integers(table: Table, name: str) -> bool:
    cells = table.column(name)
    return isinstance(cells, np.ndarray) and (
        cells.dtype.kind in "iu"
        or (cells.dtype.kind == "f" and bool((cells[np.isfinite(cells)] % 1 == 0).all()))
    )


def shared_values(table: Table, name: str, markers: Markers) -> int:
    """Return the number of distinct identifiers in a column.

    The result is 0 if there are few identifiers, if few rows share an identifier with another row,
    or if the column contains numbers that are not integers.
    """
    cells = coded(table.column(name))
    if isinstance(table.column(name), np.ndarray) and not has_integers(table, name):
        return 0
    texts = category_names(cells.values, markers)
    counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(texts))
    counts[[text is None for text in texts]] = 0
    distinct = int((counts > 0).sum())
    digits = all(text is None or any(map(str.isdigit, text)) for text in texts)
    enough = distinct >= (MIN_GROUPS if digits else MIN_NAMES)
    return distinct if enough and counts[counts > 1].sum() >= SHARED * table.rows else 0
