"""How a predictor turns a table's cells into numbers; copied from here.

A cell has no spaces around it, and is empty where there is nothing.
"""

from __future__ import annotations

import bisect
import datetime as dt
import math
import statistics
from typing import Any

from gpunn.rows.cells import Markers, boolean_text, date_of, number_of

MODEL: dict[str, Any] = {}
"""Stand in for the predictor's own."""


def encoded(
    rows: list[list[str]], counts: dict[tuple[str, str | None], int] | None = None
) -> list[list[float]]:
    """Return rows of a table's cells, in the order of MODEL["schema"]["columns"], as numbers.

    Rows are added to `counts` by column and unknown category, or None for a value that is missing
    where the training rows lacked none.
    """
    schema = MODEL["schema"]
    markers = Markers.of(schema["missing_values"])
    found = []
    for row in rows:
        numbers_of_row = [0.0] * schema["width"]
        for column, cell in zip(schema["columns"], row, strict=True):
            cell = cell.strip()
            if cell in markers or (column["kind"] == "number" and is_gap(cell, markers)):
                cell = ""
            try:
                if column["kind"] == "number":
                    encode_number(column, cell, numbers_of_row)
                elif column["kind"] == "datetime":
                    encode_date(column, cell, numbers_of_row)
                else:
                    text = boolean_text(cell) if column["kind"] == "boolean" else cell
                    numbers_of_row[column["place"]] = column["codes"].get(text, 0)
            except ValueError as error:
                raise ValueError(f"column {column['name']!r}: {error}") from None
            if counts is not None and is_unusual(column, cell, numbers_of_row):
                key = (column["name"], cell or None)
                counts[key] = counts.get(key, 0) + 1
        found.append(numbers_of_row)
    return found


def is_gap(cell: str, markers: Markers) -> bool:
    """Return whether a cell is a number that means a missing value, in whatever spelling."""
    number = number_of(cell)
    return number in markers.numbers or number != number


def is_unusual(column: dict[str, Any], cell: str, row: list[float]) -> bool:
    """Return whether a category is unknown, or a value is missing where none was in training."""
    if "codes" in column:
        return row[column["place"]] == 0 and not (cell == "" and column["gaps"])
    return cell == "" and "missing" not in column


def encode_number(column: dict[str, Any], cell: str, row: list[float]) -> None:
    """Set what becomes of a number."""
    number = number_of(cell)
    if cell and (number is None or not math.isfinite(number)):
        raise ValueError(f"expected a finite number; got {cell!r}")
    if "missing" in column:
        row[column["missing"]] = float(number is None)
    if "number" in column:
        scale = column["number"]
        row[scale["place"]] = scaled(scale["median"] if number is None else number, scale)


def encode_date(column: dict[str, Any], cell: str, row: list[float]) -> None:
    """Set what becomes of a date: its parts, and sine and cosine of those that come round."""
    moment = date_of(cell)
    if cell and moment is None:
        raise ValueError(f"expected a date, such as 2026-05-31; got {cell!r}")
    if "missing" in column:
        row[column["missing"]] = float(moment is None)
    for part, scale in column["parts"].items():
        number = scale["median"] if moment is None else part_of(moment, part)
        row[scale["place"]] = scaled(number, scale)
        if "sine" in scale and moment is not None:
            angle = number * (2 * math.pi / {"month": 12, "day of week": 7, "hour": 24}[part])
            row[scale["sine"]], row[scale["cosine"]] = math.sin(angle), math.cos(angle)


def part_of(moment: dt.datetime, part: str) -> float:
    """Return a part of a date; days of the week count from 0 for Monday."""
    if part == "year":
        return float(moment.year)
    if part == "month":
        return float(moment.month)
    if part == "day":
        return float(moment.day)
    if part == "day of week":
        return float(moment.weekday())
    seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
    return (seconds * 10**6 + moment.microsecond) / (3600 * 10**6)


def scaled(number: float, scale: dict[str, Any]) -> float:
    """Return a number on the scale of its column's training rows."""
    scaling = MODEL["schema"]["scaling"]
    if scaling == "standard":
        return bounded(number, scale["mean"], 1 / max(scale["deviation"], 2.0**-1022))
    if scaling == "robust":
        z = bounded(number, scale["median"], scale["factor"])
        return z / math.sqrt((z / 3) * (z / 3) + 1)
    if scaling == "quantile":
        if "lines" not in scale:
            scale["lines"] = lines_through(scale["quantiles"])
        return normal_quantile(number, scale["lines"])
    return number


def bounded(number: float, center: float, factor: float) -> float:
    """Return (number - center) factor, cut off where its square would overflow."""
    return min(max((number - center) * factor, -1e150), 1e150)


def lines_through(quantiles: list[float]) -> list[tuple[list[float], list[float]]]:
    """Return quantiles with their places from 0 to 1.

    If some are equal, also both from the other end: what is several quantiles is in their middle.
    """
    last = len(quantiles) - 1
    places = [place * (1 / last) for place in range(last)] + [1.0]
    if len(set(quantiles)) == len(quantiles):
        return [(quantiles, places)]
    return [
        (quantiles, places),
        ([-x for x in reversed(quantiles)], [-p for p in reversed(places)]),
    ]


def normal_quantile(number: float, lines: list[tuple[list[float], list[float]]]) -> float:
    """Return the number of the normal distribution at the same place among its quantiles."""
    number = min(max(number, -8e307), 8e307)
    p = interpolated(number, *lines[0])
    if len(lines) > 1:
        p = (p - interpolated(-number, *lines[1])) / 2
    return statistics.NormalDist().inv_cdf(min(max(p, 1e-7), 1 - 1e-7))


def interpolated(number: float, points: list[float], values: list[float]) -> float:
    """Return the value at a number, linear between ascending points."""
    place = bisect.bisect_right(points, number) - 1
    if place < 0 or place == len(points) - 1:
        return values[max(place, 0)]
    slope = (values[place + 1] - values[place]) / (points[place + 1] - points[place])
    return slope * (number - points[place]) + values[place]
