"""Columns of dates and times, encoded as their parts, and as sine and cosine of periodic parts."""

import datetime as dt
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from gpunn.errors import DataError
from gpunn.rows.cells import Markers, date_of
from gpunn.tables.cells import dates_of
from gpunn.tables.date_formats import are_seasons
from gpunn.tables.encoders.base import CSource, wrong_cell
from gpunn.tables.encoders.numeric import Numeric, encode_parts
from gpunn.tables.features import Group
from gpunn.tables.onnx_nodes import Value, concatenate
from gpunn.tables.table import Cells, Coded, Table

MAX_YEARS = 200_000
"""Maximum years between a date and 1970, so that the microseconds between fit into 64 bits."""

YEAR = 31_556_952
"""Seconds in a year, averaged over 400 years."""

DAY = 24 * 3600 * 10**6

ERA = 146_097
"""Days after which the calendar repeats: 400 years."""

FROM_MARCH = 719_468
"""Days from 1 March of the year 0 to 1 January 1970."""

HOUR = 3600 * 10**6
"""Microseconds of an hour."""


def year(dates: np.ndarray) -> np.ndarray:
    years: np.ndarray = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    return years


def month(dates: np.ndarray) -> np.ndarray:
    months: np.ndarray = dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
    return months


def day(dates: np.ndarray) -> np.ndarray:
    since_first = dates.astype("datetime64[D]") - dates.astype("datetime64[M]")
    days: np.ndarray = since_first.astype(np.int64) + 1
    return days


def weekday(dates: np.ndarray) -> np.ndarray:
    days = dates.astype("datetime64[D]").astype(np.int64)
    weekdays: np.ndarray = (days + 3) % 7  # 1 January 1970 was a Thursday
    return weekdays


def hour(dates: np.ndarray) -> np.ndarray:
    hours: np.ndarray = (dates - dates.astype("datetime64[D]")).astype(np.int64) / HOUR
    return hours


PARTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "year": year,
    "month": month,
    "day": day,
    "day of week": weekday,
    "hour": hour,
}


def encode_date(
    column: dict[str, Any], cell: str, row: list[float], scaled: Callable[..., float]
) -> None:
    moment = date_of(cell)
    if cell and moment is None:
        known = "a date such as 2026-05-31, or in a column of times, a time such as 14:30"
        raise ValueError(f"expected {known}; got {cell!r}")
    numbers = None if moment is None else {part: part_of(moment, part) for part in column["scales"]}
    encode_parts(column, numbers, row, scaled)


def part_of(moment: dt.datetime, part: str) -> float:
    if part == "day of week":
        return float(moment.weekday())
    if part == "hour":
        seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
        return (seconds * 10**6 + moment.microsecond) / (3600 * 10**6)
    return float(getattr(moment, part))


def valid_dates(table: Table, name: str, markers: Markers, advice: str = "") -> np.ndarray:
    cells = table.column(name)
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        years = cells.astype("datetime64[Y]").astype(np.int64)
        far = ~np.isnat(cells) & (np.abs(years) > MAX_YEARS)
        if far.any():
            row = int(far.argmax())
            raise DataError(
                f"{table.place(name, row)}: the date {cells[row]} is out of range; expected a year "
                f"from {1970 - MAX_YEARS} to {1970 + MAX_YEARS}"
            )
    dates, others = dates_of(cells, markers)
    if others:
        expected = (
            "expected a date such as 2026-05-31 or 2026-05-31 14:30, or in a column of times, "
            "a time such as 14:30"
        )
        raise wrong_cell(table, name, cells, others, expected, advice)
    return dates


class Datetime(Numeric):
    name = "datetime"
    field = "{prefix}_date "
    cell = staticmethod(encode_date)
    values = staticmethod(valid_dates)
    functions = MappingProxyType(PARTS)
    group = Group.PART
    largest = float(MAX_YEARS * YEAR)
    marked = False

    def accepts(self, cells: Cells, markers: Markers) -> bool:
        if dates_of(cells, markers)[1]:
            return False
        values = cells.values if isinstance(cells, Coded) else []
        texts = (value.strip() for value in values if isinstance(value, str))
        return not are_seasons([text for text in texts if text not in markers])

    def part_nodes(self, known: Value, parts: Sequence[tuple[int, str]]) -> Value:
        used = sorted({position for position, _ in parts})
        wanted = [part for part in PARTS if any(part == each for _, each in parts)]
        seconds = known.take(used).clip(-self.largest, self.largest)
        values = parts_of_dates(seconds, wanted)
        order = [wanted.index(part) * len(used) + used.index(position) for position, part in parts]
        numbers: Value = concatenate([values[part] for part in wanted]).take(order)
        return numbers

    def c_missing(self, cell: str, source: CSource) -> tuple[str, str]:
        fields = ", ".join(f"{cell}.{part}" for part in ("year", "month", "day", "hour"))
        return f"{cell}.month == 0", f"!{source.name('is_date')}({fields})"

    def c_part(self, cell: str, part: str, source: CSource) -> str:
        if part == "day of week":
            return f"{source.name('weekday')}({cell}.year, {cell}.month, {cell}.day)"
        return f"{cell}.{part}"


def parts_of_dates(seconds: Value, parts: Sequence[str]) -> dict[str, Value]:
    moment = np.rint(seconds * 1e6).astype("int64")
    time = moment % DAY
    days = (moment - time) // DAY
    values = {}
    if not {"year", "month", "day"}.isdisjoint(parts):
        values["year"], values["month"], values["day"] = year_month_and_day(days)
    if "day of week" in parts:  # 1 January 1970 was a Thursday
        values["day of week"] = (days + 3) % 7
    values = {part: number.astype("float64") for part, number in values.items()}
    if "hour" in parts:
        values["hour"] = time.astype("float64") / HOUR
    return values


def year_month_and_day(days: Value) -> tuple[Any, Any, Any]:
    """Return the year, the month and the day of the month, given numbers of days since 1970.

    From H. Hinnant, "chrono-compatible low-level date algorithms", 2013.
    """
    # Here, years begin on 1 March, so that a leap day is the last day of its year.
    since_march: Any = days + FROM_MARCH
    day = since_march % ERA
    era = (since_march - day) // ERA
    # Subtract the earlier leap days: one every 4 years, none every 100, but one every 400 years.
    year = (day - day // 1460 + day // 36_524 - day // (ERA - 1)) // 365
    day = day - (year * 365 + (year // 4 - year // 100))
    # Months from March on have 31, 30, 31, 30, 31 days, repeatedly.
    from_march = (day * 5 + 2) // 153
    month = (from_march + 2) % 12 + 1
    next_year = (month < 3).astype("int64")
    return year + era * 400 + next_year, month, day - (from_march * 153 + 2) // 5 + 1
