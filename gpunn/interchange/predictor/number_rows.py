"""Reads cells as numbers. Each exported predictor contains a copy of this module's source."""

from __future__ import annotations

from typing import Any

from gpunn.rows.cells import finite_number

MODEL: dict[str, Any] = {}
"""Placeholder for the predictor's definition."""


def encoded(
    rows: list[list[str]], counts: dict[tuple[str, str | None], int] | None = None
) -> list[list[float]]:
    """Return rows of cells as numbers, in the order of the network's inputs."""
    names = MODEL["input"]["names"] or MODEL["input"]["positions"]
    missing = MODEL["input"]["missing"]
    return [
        [finite_number(cell, name, missing) for name, cell in zip(names, row, strict=True)]
        for row in rows
    ]
