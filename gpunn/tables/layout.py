"""Where what is made of each column stands in the matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpunn.tables.columns import Column
from gpunn.tables.dates import CYCLES

__all__ = ["CURVES", "MISSING", "Place", "distinct", "scaled_places", "unscaled_places"]

CURVES = ("sine", "cosine")

MISSING = "missing"


@dataclass(frozen=True)
class Place:
    """Where something that is made of a column stands in the matrix.

    Attributes
    ----------
    column : str
        Its name.
    what : str
        "" for its number or its code; a part of a date, such as "month"; "month, sine" and
        "month, cosine"; or "missing".
    """

    column: str
    what: str = ""

    @property
    def name(self) -> str:
        """What the column of the matrix is called."""
        return f"{self.column} ({self.what})" if self.what else self.column


def scaled_places(columns: Sequence[Column]) -> list[Place]:
    """Return what stands first in the matrix: numbers, then parts of dates."""
    numbers = [Place(column.name) for column in columns if column.is_number]
    parts = [
        Place(column.name, part)
        for column in columns
        if not column.dropped
        for part in column.parts
    ]
    return [*numbers, *parts]


def unscaled_places(columns: Sequence[Column]) -> list[Place]:
    """Return what follows in the matrix: cycles of dates, indicators, codes."""
    cycles = [
        Place(column.name, f"{part}, {curve}")
        for column in columns
        if not column.dropped
        for part in column.parts
        if part in CYCLES
        for curve in CURVES
    ]
    indicators = [Place(column.name, MISSING) for column in columns if column.has_indicator]
    return [*cycles, *indicators, *(Place(column.name) for column in columns if column.is_category)]


def distinct(names: Sequence[str]) -> list[str]:
    """Return names with apostrophes added where one occurs twice."""
    taken: dict[str, None] = {}
    for name in names:
        while name in taken:
            name += "'"
        taken[name] = None
    return list(taken)
