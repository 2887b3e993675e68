"""How a predictor takes the cells of a CSV file for numbers; copied from here."""

from __future__ import annotations

import math
from typing import Any

from gpunn.interchange.predictor.command import chosen, number_of

MODEL: dict[str, Any] = {}
"""The predictor's own stands in its place."""


def encoded(names: list[str] | None, rows: list[list[str]]) -> list[list[float]]:
    """Return the numbers of the columns that the network takes."""
    width = math.prod(MODEL["input_shape"])
    wanted = MODEL["features"] or [str(number) for number in range(width)]
    places = chosen(names if MODEL["features"] else None, wanted, len(rows[0]) if rows else width)
    found = []
    for count, row in enumerate(rows, start=1):
        values = [number_of(row[place]) for place in places]
        for place, value in zip(places, values, strict=True):
            if value is None or not math.isfinite(value):
                column = repr(names[place]) if names else place
                raise ValueError(
                    f"row {count}, column {column}: expected a finite number; got {row[place]!r}"
                )
        found.append([value for value in values if value is not None])
    return found
