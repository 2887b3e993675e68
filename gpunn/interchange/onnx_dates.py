"""Parts of dates, from seconds since 1970, as ONNX operators on whole numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from gpunn.interchange.onnx_graph import Graph
from gpunn.tables.dates import CYCLES, cycle_of
from gpunn.tables.layout import CURVES

__all__ = ["curves_of_parts", "parts_of_dates"]

DAY = 24 * 3600 * 10**6
"""Microseconds."""

ERA = 146_097
"""Days after which the calendar begins again: 400 years."""

FROM_MARCH = 719_468
"""Days from 1 March of the year 0 to 1 January 1970."""


def parts_of_dates(graph: Graph, seconds: str, parts: Collection[str]) -> dict[str, str]:
    """Return parts of dates in float64, each of the shape of the seconds.

    They are those of `gpunn.tables.dates.PARTS`, to the microsecond. Years, months and their days
    are found by counting days from 1 March, so that a leap day is the last of its year [1]_.

    Parameters
    ----------
    graph : Graph
    seconds : str
        Name of float64 seconds since 1970, finite, and less than 2e5 years away.
    parts : collection of str
        Those that are wanted.

    References
    ----------
    .. [1] H. Hinnant, "chrono-compatible low-level date algorithms", 2013:
       https://howardhinnant.github.io/date_algorithms.html
    """
    dates = Whole(graph)
    million = graph.doubles(1e6, "schema.dates.million")
    microseconds = graph.add("Mul", seconds, million, name="schema.dates.exact")
    microseconds = graph.add("Round", microseconds, name="schema.dates.rounded")
    moment = dates.cast(microseconds, "int64", "microseconds")
    time = dates.op("Mod", moment, DAY, "time")
    days = dates.op("Div", dates.op("Sub", moment, time, "midnight"), DAY, "days")
    found = {}
    if any(part in parts for part in ("year", "month", "day")):
        found["year"], found["month"], found["day"] = year_month_and_day(dates, days)
    if "day of week" in parts:  # 1 January 1970 was a Thursday
        found["day of week"] = dates.op("Mod", dates.op("Add", days, 3, "shifted"), 7, "weekday")
    found = {part: dates.cast(name, "float64", f"{part}.number") for part, name in found.items()}
    if "hour" in parts:
        hour = graph.doubles(DAY / 24, "schema.dates.hour.length")
        exact = dates.cast(time, "float64", "time.number")
        found["hour"] = graph.add("Div", exact, hour, name="schema.dates.hour")
    return found


def year_month_and_day(dates: Whole, days: str) -> tuple[str, str, str]:
    """Return the year, the month and the day of the month of days since 1970."""
    op = dates.op
    since_march = op("Add", days, FROM_MARCH, "since_march")
    day = op("Mod", since_march, ERA, "day_of_era")
    era = op("Div", op("Sub", since_march, day, "era.start"), ERA, "era")
    # Less the leap days before it: one in 4 years, but not in 100, but in 400.
    even = op("Sub", day, op("Div", day, 1460, "fours"), "less_fours")
    even = op("Add", even, op("Div", day, 36_524, "centuries"), "with_centuries")
    even = op("Sub", even, op("Div", day, ERA - 1, "eras"), "less_eras")
    year = op("Div", even, 365, "year_of_era")
    leap = op("Sub", op("Div", year, 4, "leap"), op("Div", year, 100, "not_leap"), "leap_days")
    start = op("Add", op("Mul", year, 365, "plain_days"), leap, "year.start")
    in_year = op("Sub", day, start, "day_of_year")
    # Months from March on have 31, 30, 31, 30, 31 days, again and again.
    fifths = op("Add", op("Mul", in_year, 5, "five_days"), 2, "fifths")
    from_march = op("Div", fifths, 153, "month_from_march")
    fifths = op("Add", op("Mul", from_march, 153, "month.fifths"), 2, "month.rounded")
    start = op("Div", fifths, 5, "month.start")
    day = op("Add", op("Sub", in_year, start, "day_from_0"), 1, "day_of_month")
    month = op("Add", op("Mod", op("Add", from_march, 2, "turned"), 12, "month_from_0"), 1, "month")
    next_year = dates.graph.add(
        "Less", month, dates.number(3, "march"), name="schema.dates.is_next_year"
    )
    year = op("Add", year, op("Mul", era, 400, "era.year"), "march_year")
    return op("Add", year, dates.cast(next_year, "int64", "next_year"), "year"), month, day


def curves_of_parts(graph: Graph, numbers: str, curves: Sequence[tuple[str, str]]) -> str:
    """Return a sine or cosine of 2 pi number / period for each column.

    Of whole numbers they are the same bits as in `cycle_of`. Edges of bins may lie between two of
    them that differ by rounding alone, as the cosines of a quarter and of three quarters of a year.

    Parameters
    ----------
    graph : Graph
    numbers : str
        Parts of dates, shape (rows, columns).
    curves : sequence of (part, curve)
        Of each column, such as ("month", "sine").
    """
    name = "schema.curves"
    tables = [
        cycle_of(np.arange(CYCLES[part] + 1.0), CYCLES[part])[CURVES.index(curve)]
        for part, curve in curves
    ]
    floor = graph.add("Floor", numbers, name=f"{name}.floor")
    place = graph.add("Cast", floor, name=f"{name}.number", to=graph.element_type("int64"))
    starts = graph.integers(np.cumsum([0, *map(len, tables[:-1])]), f"{name}.starts")
    place = graph.add("Add", place, starts, name=f"{name}.place")
    table = graph.doubles(np.concatenate(tables), f"{name}.table")
    of_whole = graph.add("Gather", table, place, name=f"{name}.of_whole", axis=0)
    if all(part != "hour" for part, _ in curves):
        return of_whole
    turns = graph.doubles([2 * math.pi / CYCLES[part] for part, _ in curves], f"{name}.turns")
    angles = graph.add("Mul", numbers, turns, name=f"{name}.angles")
    # Runtimes lack the cosine in float64, but not the sine.
    quarters = [math.pi / 2 if curve == "cosine" else 0 for _, curve in curves]
    ahead = graph.add(
        "Add", angles, graph.doubles(quarters, f"{name}.quarters"), name=f"{name}.ahead"
    )
    sines = graph.add("Sin", ahead, name=f"{name}.sines")
    is_whole = graph.add("Equal", floor, numbers, name=f"{name}.is_whole")
    return graph.add("Where", is_whole, of_whole, sines, name=name)


class Whole:
    """Arithmetic on int64 in a graph, with short names.

    Parameters
    ----------
    graph : Graph
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def number(self, value: int, name: str) -> str:
        """Add a number as a constant and return its name."""
        return self.graph.integers([value], f"schema.dates.{name}.constant")

    def op(self, operator: str, a: str, b: str | int, name: str) -> str:
        """Add a node for a and b, of which b may be a number, and return its name."""
        if isinstance(b, int):
            b = self.number(b, name)
        return self.graph.add(operator, a, b, name=f"schema.dates.{name}")

    def cast(self, x: str, dtype: str, name: str) -> str:
        """Add a conversion of x and return its name."""
        code = self.graph.element_type(dtype)
        return self.graph.add("Cast", x, name=f"schema.dates.{name}", to=code)
