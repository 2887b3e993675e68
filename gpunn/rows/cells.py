"""What the text of a cell means: a number, a date, yes or no, or a missing value.

Unless said otherwise, a cell may have spaces around it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Self

__all__ = [
    "MISSING_NUMBERS",
    "MISSING_VALUES",
    "Markers",
    "boolean_text",
    "date_of",
    "finite_number",
    "is_code",
    "number_of",
    "with_point",
]

MISSING_VALUES = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "NaT", "null", "?")
"""Text that means a missing value in a table, in any case, besides what the user adds."""

MISSING_NUMBERS = ("", "NA", "N/A", "nan", "?")
"""The same for a file of numbers; text that the user names replaces it."""

TRUE = ("true", "t", "yes", "y", "1", "1.0")
FALSE = ("false", "f", "no", "n", "0", "0.0")

SEPARATORS = ("", " ", "T")
"""What may stand between a date and a time: Python takes any letter there."""


class Markers:
    """Cells that mean a missing value.

    `texts` have no spaces around them, and letters folded to one case. `numbers` are those of them
    that are numbers, such as -999, which may be spelt in other ways.
    """

    def __init__(self, texts: frozenset[str], numbers: tuple[float, ...]) -> None:
        self.texts, self.numbers = texts, numbers

    @classmethod
    def of(cls, further: Iterable[str] = (), always: Iterable[str] = MISSING_VALUES) -> Self:
        """Return markers of these texts, in any case."""
        folded = frozenset(text.strip().casefold() for text in (*always, *further))
        numbers = (number_of(text) for text in sorted(folded))
        return cls(folded, tuple(each for each in numbers if each is not None))

    def __contains__(self, text: str) -> bool:
        """Return whether a text, without spaces around it, means a missing value."""
        if text.casefold() in self.texts:
            return True
        return bool(self.numbers) and number_of(text) in self.numbers and not is_code(text)

    def is_gap(self, text: str) -> bool:
        """Return whether a cell of numbers, without spaces around it, means a missing one.

        NaN always does. Digits after a zero are a number there, not a code.
        """
        number = number_of(text)
        return number in self.numbers or number != number or text.casefold() in self.texts


def number_of(cell: str) -> float | None:
    """Return the number that a cell spells, which may be infinite or NaN; None if it spells none.

    Python reads 1_000 as a number, tables do not.
    """
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def finite_number(cell: str, name: str | int, missing: Iterable[float]) -> float:
    """Return the number that a cell spells; a ValueError if it spells none, or a missing one."""
    number = number_of(cell)
    if number is None or number - number != 0 or number in missing:
        raise ValueError(f"column {name!r}: expected a finite number; got {cell!r:.80}")
    return number


def with_point(cell: str) -> str:
    """Return a number that has a comma as its decimal mark with a point instead."""
    if "," not in cell:
        return cell
    changed = cell.replace(",", ".")
    return cell if number_of(changed) is None else changed


def is_code(text: str) -> bool:
    """Return whether a text is digits after a zero, such as 007: a code, not a number."""
    return text[:1] == "0" and text[1:].isdecimal() and text.isascii()


def boolean_text(text: str) -> str:
    """Return "True" or "False" for the words for it, in any case; any other text as it is."""
    folded = text.casefold()
    if folded in TRUE:
        return "True"
    return "False" if folded in FALSE else text


def date_of(cell: str, keep_offset: bool = False) -> dt.datetime | None:
    """Return the date and time that a cell spells; None if it spells none.

    It is in the formats of ISO 8601, or with slashes, the year first. An offset from UTC is left
    out, unless it is asked for: the hour stays that of the clock on the wall.
    """
    text = cell.strip()
    if text[4:5] == "/":
        text = text.replace("/", "-")
    if text[4:5] != "-" or text[10:11] not in SEPARATORS:
        return None
    try:
        date = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if keep_offset else date.replace(tzinfo=None)
