"""How a predictor takes cells for numbers; copied from here."""

from __future__ import annotations

from typing import Any

from gpunn.rows.cells import finite_number

MODEL: dict[str, Any] = {}
"""Stand in for the predictor's own."""


def encoded(
    rows: list[list[str]], counts: dict[tuple[str, str | None], int] | None = None
) -> list[list[float]]:
    """Return the numbers that rows of cells spell, which are in the order of the network's inputs.

    `counts` is for networks with a schema alone.
    """
    names = MODEL["input"]["names"] or MODEL["input"]["positions"]
    missing = MODEL["input"]["missing"]
    return [
        [finite_number(cell, name, missing) for name, cell in zip(names, row, strict=True)]
        for row in rows
    ]
