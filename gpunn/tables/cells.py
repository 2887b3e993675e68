"""Reading cells as numbers, strings and dates; each distinct value is read only once."""

import contextlib
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from gpunn.rows.cells import Markers, date_of, number_of
from gpunn.tables.table import Cells, Coded

INTEGER = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.0)?")
"""Matches integers such as 7, and also 7.0, because columns with missing values contain 7.0."""

EXACT_INTEGERS = 2.0**53
"""The smallest number above which float64 can't represent every integer."""

MAX_DIGITS = 300
"""A number in text that has more digits may be infinite in float64."""


def coded(cells: Cells) -> Coded:
    # The distinct values of an array are sorted.
    if isinstance(cells, Coded):
        return cells
    values, codes = np.unique(cells, return_inverse=True)
    if values.dtype.kind in "fM" and len(values) and values[-1] != values[-1]:
        codes = np.where(codes == len(values) - 1, -1, codes)  # NaN and NaT are sorted to the end
        values = values[:-1]
    # `tolist` would turn dates in nanoseconds into integers.
    return Coded(codes, list(values) if values.dtype.kind == "M" else values.tolist())


def numbers_of(cells: Cells, markers: Markers) -> tuple[np.ndarray, list[int]]:
    """Return cells as a new float64 array, and the indices of unreadable `coded(cells).values`.

    Durations become seconds. Missing and unreadable cells become NaN.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind != "M":
        with np.errstate(over="ignore"):
            numbers, others = cells.astype(np.float64), list[int]()
    else:
        cells = coded(cells)
        parsed, others = numbers_of_values(cells.values, markers)
        numbers = cells.take(parsed, np.nan)
    for marker in markers.numbers:
        if marker == marker:
            numbers[numbers == marker] = np.nan
    return numbers, others


def numbers_of_values(values: Sequence[Any], markers: Markers) -> tuple[np.ndarray, list[int]]:
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
        elif isinstance(value, np.timedelta64):  # counts as a number in Python, not in NumPy
            numbers[position] = value / np.timedelta64(1, "s")
        elif isinstance(value, timedelta):
            numbers[position] = value.total_seconds()
        elif isinstance(value, (Real, Decimal)):
            try:
                numbers[position] = float(value)
            except OverflowError:  # an integer of more than 308 digits
                numbers[position] = math.inf
        else:
            others.append(position)
    return numbers, others


def category_names(values: Sequence[Any], markers: Markers) -> list[str | None]:
    return [None if (text := text_of(value)) in markers else text for value in values]


def other_spelling(text: str) -> str | None:
    """Return "7.0" for "7" and "7" for "7.0", because missing values turn integers into floats."""
    integer = INTEGER.fullmatch(text)
    if integer is None:
        return None
    return integer[1] if integer[2] else f"{integer[1]}.0"


def spellings(categories: Sequence[str]) -> dict[str, int]:
    known = {text: code for code, text in enumerate(categories, 1)}
    for text, code in list(known.items()):
        other = other_spelling(text)
        if other is not None:
            known.setdefault(other, code)
    return known


def text_of(value: Any) -> str:
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
    return abs(value) < EXACT_INTEGERS and value == int(value)


def remark_on_rounding(values: Iterable[Any]) -> str:
    for value in values:
        text = str(value).strip()
        if len(text) < MAX_DIGITS and text.removeprefix("-").isdecimal():
            number, rounded = int(text), int(float(text))
            if number != rounded:
                return (
                    f"{text} was read as {rounded}, since numbers of 2^53 and more are rounded; if "
                    "the column contains codes, make it a category"
                )
    return ""


def dates_of(cells: Cells, markers: Markers) -> tuple[np.ndarray, list[int]]:
    # A missing or wrong cell becomes NaT. The codes are those that `coded(cells)` defines for
    # values that are neither dates nor missing.
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        return cells.astype("datetime64[us]"), []
    cells = coded(cells)
    could_be_dates = (text[4:5] in ("-", "/") for text in markers.strings)
    if are_plain_dates(cells.values) and not any(could_be_dates):
        with contextlib.suppress(ValueError):  # a value is not a date
            dates = np.array(cells.values, dtype="datetime64[us]")
            return cells.take(dates, np.datetime64("NaT", "us")), []
    moments: list[np.datetime64 | datetime | None] = []
    others = []
    for position, value in enumerate(cells.values):
        is_missing = isinstance(value, str) and value.strip() in markers
        moments.append(None if is_missing else moment_of(value))
        if moments[-1] is None and not is_missing:
            others.append(position)
    dates = np.array(moments, dtype="datetime64[us]")
    return cells.take(dates, np.datetime64("NaT", "us")), others


def are_plain_dates(values: Sequence[Any]) -> bool:
    """Return whether all values look like 2026-05-31, maybe with a time."""
    if set(map(type, values)) != {str} or not set(map(len, values)) <= {10, 16, 19}:
        return False
    texts = np.array(values, "U19")
    letters = texts.view(np.uint32).reshape(-1, 19).T.copy()  # code points, 0 if absent
    allowed = {4: "-", 7: "-", 10: "\0 T", 13: "\0:", 16: "\0:"}
    return bool((texts >= "0001").all()) and all(
        np.logical_or.reduce([letters[position] == ord(mark) for mark in marks]).all()
        for position, marks in allowed.items()
    )


def moment_of(value: Any) -> np.datetime64 | datetime | None:
    if isinstance(value, str):
        return date_of(value)
    if isinstance(value, np.datetime64):
        return value
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, time):
        return datetime.combine(datetime(1970, 1, 1), value.replace(tzinfo=None))
    # pandas' periods, such as months, become their first moments, like months in text.
    start = getattr(value, "start_time", None)
    return None if start is None else moment_of(start)
