"""Encoding a table's cells as numbers in a predictor; exports copy this source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpunn.rows.cells import Markers
from gpunn.rows.formats import in_standard_form
from gpunn.tables.encoders import KINDS
from gpunn.tables.scaling import SCALINGS

MODEL: dict[str, Any] = {}
"""Placeholder for the predictor's definition."""

ENCODERS: dict[str, Callable[..., None]] = {name: kind.cell for name, kind in KINDS.items()}
"""Placeholder for the encoders that an export needs, by kind of column."""

SCALERS: dict[str, Callable[..., float]] = {name: each.number for name, each in SCALINGS.items()}
"""Placeholder for the scaling functions that an export needs, by name."""


def encoded(
    rows: list[list[str]], counts: dict[tuple[str, str | None], int] | None = None
) -> list[list[float]]:
    # `counts` counts, by column, the rows of each unknown category and of each number with another
    # unit. The key None counts missing values if the column had none in training.
    schema = MODEL["schema"]
    markers = Markers.of(schema["missing_values"])
    encoded_rows = []
    for row in rows:
        numbers_of_row = [0.0] * schema["width"]
        for column, cell in zip(schema["columns"], row, strict=True):
            text = cell.strip()
            plain: str | None = text
            if column["format"] and text not in markers:
                plain = in_standard_form(text, column["format"])
            cell = plain or ""
            if markers.is_missing_number(cell) if column["kind"] == "number" else cell in markers:
                cell = ""
            encodings = column["encodings"]
            try:
                for encoding in encodings:
                    ENCODERS[column["kind"]](encoding, cell, numbers_of_row, scaled)
            except ValueError as error:
                raise ValueError(f"column {column['name']!r}: {error}") from None
            if counts is not None and (
                plain is None
                or all(is_unseen(encoding, cell, numbers_of_row) for encoding in encodings)
            ):
                key = (column["name"], text if plain is None else cell or None)
                counts[key] = counts.get(key, 0) + 1
        encoded_rows.append(numbers_of_row)
    return encoded_rows


def scaled(number: float, scale: dict[str, Any]) -> float:
    return SCALERS[scale["scaling"]](number, scale)


def is_unseen(encoding: dict[str, Any], cell: str, row: list[float]) -> bool:
    """Return whether a cell has a category or a missing value that did not occur in training."""
    if "codes" in encoding:
        return row[encoding["places"][""]] == 0 and not (cell == "" and encoding["gaps"])
    return cell == "" and "missing" not in encoding["places"]
