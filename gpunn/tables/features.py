"""The features: the columns of the encoded matrix, and their order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

MISSING = "missing"


class Group(IntEnum):
    """The kinds of features in the encoded matrix, in column order; NUMBER and PART are scaled."""

    NUMBER = 0
    PART = 1
    CYCLE = 2
    INDICATOR = 3
    CODE = 4


@dataclass(frozen=True)
class Feature:
    """A column of the encoded matrix. `aspect` is "missing", a date part such as "month", or ""."""

    column: str
    aspect: str = ""
    group: Group = field(default=Group.NUMBER, compare=False)

    @property
    def name(self) -> str:
        return f"{self.column} ({self.aspect})" if self.aspect else self.column


def distinct(names: Sequence[str]) -> list[str]:
    taken: dict[str, None] = {}
    for name in names:
        while name in taken:
            name += "'"
        taken[name] = None
    return list(taken)
