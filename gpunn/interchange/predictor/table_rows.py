"""How a predictor turns a table's cells into numbers; copied from here.

A cell has no spaces around it, and is empty where there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpunn.rows.cells import Markers
from gpunn.tables.encoders import KINDS
from gpunn.tables.scaling import SCALINGS

MODEL: dict[str, Any] = {}
"""Stand in for the predictor's own."""

ENCODERS: dict[str, Callable[..., None]] = {name: kind.cell for name, kind in KINDS.items()}
"""Stand in for those of the predictor's columns."""

SCALERS: dict[str, Callable[..., float]] = {name: each.number for name, each in SCALINGS.items()}
"""Stand in for that of the predictor's columns."""


def encoded(
    rows: list[list[str]], counts: dict[tuple[str, str | None], int] | None = None
) -> list[list[float]]:
    """Return rows of a table's cells, in the order of MODEL["schema"]["columns"], as numbers.

    Rows are added to `counts` by column and unknown category, or None for a value that is missing
    where the training rows lacked none.
    """
    schema = MODEL["schema"]
    scaled = SCALERS[schema["scaling"]]
    markers = Markers.of(schema["missing_values"])
    found = []
    for row in rows:
        numbers_of_row = [0.0] * schema["width"]
        for column, cell in zip(schema["columns"], row, strict=True):
            cell = cell.strip()
            if markers.is_missing_number(cell) if column["kind"] == "number" else cell in markers:
                cell = ""
            try:
                ENCODERS[column["kind"]](column, cell, numbers_of_row, scaled)
            except ValueError as error:
                raise ValueError(f"column {column['name']!r}: {error}") from None
            if counts is not None and is_unusual(column, cell, numbers_of_row):
                key = (column["name"], cell or None)
                counts[key] = counts.get(key, 0) + 1
        found.append(numbers_of_row)
    return found


def is_unusual(column: dict[str, Any], cell: str, row: list[float]) -> bool:
    """Return whether a category is unknown, or a value is missing where none was in training."""
    if "codes" in column:
        return row[column["places"][""]] == 0 and not (cell == "" and column["gaps"])
    return cell == "" and "missing" not in column["places"]
