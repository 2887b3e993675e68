"""What cells mean: numbers, texts, dates, yes and no. Each different value is looked at once."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from gpunn.rows.cells import SEPARATORS, Markers, date_of, number_of
from gpunn.tables.table import Cells, Coded

__all__ = [
    "EXACT_INTEGERS",
    "Markers",
    "coded",
    "dates_of",
    "numbers_of",
    "other_spelling",
    "remark_on_rounding",
    "spellings",
    "texts_of",
]

WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.0)?")
"""An integer as a column without or with gaps has it."""

EXACT_INTEGERS = 2.0**53
"""From here on not every whole number is a float64."""

MAX_DIGITS = 300
"""Of more digits a float64 may be infinite."""


def coded(cells: Cells) -> Coded:
    """Return cells in dictionary encoding; the values of an array are in ascending order."""
    if isinstance(cells, Coded):
        return cells
    values, codes = np.unique(cells, return_inverse=True)
    if values.dtype.kind in "fM" and len(values) and values[-1] != values[-1]:
        codes = np.where(codes == len(values) - 1, -1, codes)  # NaN and NaT are sorted to the end
        values = values[:-1]
    # Dates of nanoseconds would otherwise become whole numbers.
    return Coded(codes, list(values) if values.dtype.kind == "M" else values.tolist())


def numbers_of(cells: Cells, markers: Markers) -> tuple[np.ndarray, list[int]]:
    """Return the numbers that cells are or spell, and which values are none.

    The numbers are a new array of float64, with durations in seconds, and NaN where a cell is
    missing or no number; it may hold infinities. The list numbers the values (of `coded(cells)`)
    that are neither numbers nor missing.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind != "M":
        with np.errstate(over="ignore"):
            numbers, others = cells.astype(np.float64), list[int]()
    else:
        cells = coded(cells)
        parsed, others = numbers_of_values(cells.values, markers)
        numbers = cells.take(parsed, np.nan)
    if markers.numbers:
        numbers[np.isin(numbers, markers.numbers)] = np.nan
    return numbers, others


def numbers_of_values(values: Sequence[Any], markers: Markers) -> tuple[np.ndarray, list[int]]:
    """Return a number for each value, NaN if it is none, and the places of those that are none."""
    numbers = np.full(len(values), np.nan)
    others = []
    for position, value in enumerate(values):
        if isinstance(value, str):
            text = value.strip()
            number = number_of(text)
            if number is not None:
                numbers[position] = number
            elif text.casefold() not in markers.strings:
                others.append(position)
        elif isinstance(value, np.timedelta64):  # which is a number to Python, but not to NumPy
            numbers[position] = value / np.timedelta64(1, "s")
        elif isinstance(value, timedelta):
            numbers[position] = value.total_seconds()
        elif isinstance(value, (Real, Decimal)):
            try:
                numbers[position] = float(value)
            except OverflowError:  # a whole number of more than 308 digits
                numbers[position] = math.inf
        else:
            others.append(position)
    return numbers, others


def texts_of(values: Sequence[Any], markers: Markers) -> list[str | None]:
    """Return the name of the category that each value stands for; None if it means a missing one.

    Spaces around it don't count. A whole number is written without a point, whatever its type, so
    that 2.0 of a column with gaps is the same category as 2 of one without.
    """
    return [None if (text := text_of(value)) in markers else text for value in values]


def other_spelling(text: str) -> str | None:
    """Return 7.0 for 7, and 7 for 7.0, as which a column with gaps has it; else None."""
    whole = WHOLE.fullmatch(text)
    if whole is None:
        return None
    return whole[1] if whole[2] else f"{whole[1]}.0"


def spellings(categories: Sequence[str]) -> dict[str, int]:
    """Return the code of each text that is a category: its own, or else its other spelling."""
    known = {text: code for code, text in enumerate(categories, 1)}
    for text, code in list(known.items()):
        other = other_spelling(text)
        if other is not None:
            known.setdefault(other, code)
    return known


def text_of(value: Any) -> str:
    """Return a value as text that UTF-8 can hold, without spaces around it."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        text = value.strip()
    elif isinstance(value, (float, np.floating)) and is_exact_integer(float(value)):
        text = str(int(value))
    else:
        text = str(value)
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def is_exact_integer(value: float) -> bool:
    """Return whether a number is whole, and no other whole number is the same float64."""
    return abs(value) < EXACT_INTEGERS and value == int(value)


def remark_on_rounding(values: Iterable[Any]) -> str:
    """Return that a whole number is none that float64 has, of the first one; else nothing.

    Values are numbers, or what spells some.
    """
    for value in values:
        text = str(value).strip()
        if len(text) < MAX_DIGITS and text.removeprefix("-").isdecimal():
            number, rounded = int(text), int(float(text))
            if number != rounded:
                return (
                    f"{text} was read as {rounded}, since numbers of 2^53 and more are rounded; if "
                    "these are codes, make the column a category"
                )
    return ""


def dates_of(cells: Cells, markers: Markers) -> tuple[np.ndarray, list[int]]:
    """Return the dates and times that cells are or spell, and which values are none.

    The dates are `datetime64[us]`, NaT where a cell is missing or no date; `date_of` says which
    text is one. The list numbers the values (of `coded(cells)`) that are neither dates nor missing.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        return cells.astype("datetime64[us]"), []
    cells = coded(cells)
    if all(map(is_plain_date, cells.values)) and not any(map(is_date_like, markers.strings)):
        with contextlib.suppress(ValueError):  # one of them is no date
            dates = np.array(cells.values, dtype="datetime64[us]")
            return cells.take(dates, np.datetime64("NaT", "us")), []
    found: list[np.datetime64 | datetime | None] = []
    others = []
    for position, value in enumerate(cells.values):
        is_missing = isinstance(value, str) and value.strip() in markers
        found.append(None if is_missing else moment_of(value))
        if found[-1] is None and not is_missing:
            others.append(position)
    dates = np.array(found, dtype="datetime64[us]")
    return cells.take(dates, np.datetime64("NaT", "us")), others


def is_date_like(text: str) -> bool:
    """Return whether a text has a mark where a date has one."""
    return text[4:5] in ("-", "/")


def is_plain_date(value: Any) -> bool:
    """Return whether a value looks like 2026-05-31, without or with 14:30 or 14:30:59 after it.

    If it does, and NumPy reads it, then as Python does, in a tenth of the time.
    """
    return (
        isinstance(value, str)
        and len(value) in (10, 16, 19)
        and value[4] == value[7] == "-"
        and value[10:11] in SEPARATORS
        and value[13:14] in ("", ":")
        and value[16:17] in ("", ":")
        and value >= "0001"
    )


def moment_of(value: Any) -> np.datetime64 | datetime | None:
    """Return the date and time that a value is or spells; None if it does not."""
    if isinstance(value, str):
        return date_of(value)
    if isinstance(value, np.datetime64):
        return value
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    return None
