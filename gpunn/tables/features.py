"""Where what is made of each column stands in the matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

__all__ = ["MISSING", "Feature", "Group", "distinct"]

MISSING = "missing"


class Group(IntEnum):
    """What neighboring columns of the matrix hold, in their order; the first two are scaled."""

    NUMBER = 0
    PART = 1
    CYCLE = 2
    INDICATOR = 3
    CODE = 4


@dataclass(frozen=True)
class Feature:
    """Something that is made of a column, and stands in a column of the matrix.

    `what` is "" for its number or its code; a part of a date, such as "month"; "month, sine" and
    "month, cosine"; or "missing". Two places are equal without regard to their groups.
    """

    column: str
    aspect: str = ""
    group: Group = field(default=Group.NUMBER, compare=False)

    @property
    def name(self) -> str:
        """What the column of the matrix is called."""
        return f"{self.column} ({self.aspect})" if self.aspect else self.column


def distinct(names: Sequence[str]) -> list[str]:
    """Return names with apostrophes added where one occurs twice."""
    taken: dict[str, None] = {}
    for name in names:
        while name in taken:
            name += "'"
        taken[name] = None
    return list(taken)
