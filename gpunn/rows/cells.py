"""Read a cell's text as a number, a date, a Boolean or a missing value.

Unless a docstring says otherwise, a cell may have spaces around it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import Self

MISSING_VALUES = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "NaT", "null", "?")
"""Strings that mean a missing value in a table, in any case; users can add more."""

MISSING_NUMBERS = ("", "NA", "N/A", "nan", "?")
"""Strings that mean a missing value in a file of numbers; users can replace them."""

TRUE = ("true", "t", "yes", "y", "1", "1.0")
FALSE = ("false", "f", "no", "n", "0", "0.0")

SEPARATORS = ("", " ", "T")
"""Separators that are accepted between a date and a time; Python would accept any character."""

MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)

ENDINGS = ("st", "nd", "rd", "th")

YEAR_OF_QUARTER = r"((?:1[89]|2[01])\d\d)"
QUARTER = re.compile(
    rf"{YEAR_OF_QUARTER}[ /-]?Q([1-4])|Q([1-4])[ /-]{YEAR_OF_QUARTER}", re.ASCII | re.IGNORECASE
)
"""Matches a quarter of a year, such as 2013-Q4, 2013Q4 and Q4 2013."""


class Markers:
    """Strings and numbers (such as -999) that mean a missing value in a cell."""

    def __init__(self, strings: frozenset[str], numbers: tuple[float, ...]) -> None:
        self.strings, self.numbers = strings, numbers

    @classmethod
    def of(cls, further: Iterable[str] = (), always: Iterable[str] = MISSING_VALUES) -> Self:
        folded = frozenset(text.strip().casefold() for text in (*always, *further))
        numbers = (number_of(text) for text in sorted(folded))
        return cls(folded, tuple(each for each in numbers if each is not None))

    def __contains__(self, text: str) -> bool:
        if text.casefold() in self.strings:
            return True
        return bool(self.numbers) and number_of(text) in self.numbers and not is_code(text)

    def is_missing_number(self, text: str) -> bool:
        """Return whether a cell's number means a missing value. NaN always does."""
        number = number_of(text)
        return number in self.numbers or number != number or text.casefold() in self.strings


def number_of(cell: str) -> float | None:
    """Convert a cell to a float, even inf or NaN. If it is no float or has a "_", return None."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def finite_number(cell: str, name: str | int, missing: Iterable[float]) -> float:
    number = number_of(cell)
    if number is None or number - number != 0 or number in missing:
        raise ValueError(f"column {name!r}: expected a finite number; got {cell!r:.80}")
    return number


def with_point(cell: str) -> str:
    if "," not in cell:
        return cell
    changed = cell.replace(",", ".")
    return cell if number_of(changed) is None else changed


def is_code(text: str) -> bool:
    """Return whether a string is a code such as 007: a zero, followed by digits."""
    return text[:1] == "0" and text[1:].isdecimal() and text.isascii()


def boolean_text(text: str) -> str:
    folded = text.casefold()
    if folded in TRUE:
        return "True"
    return "False" if folded in FALSE else text


def date_of(cell: str, keep_offset: bool = False) -> dt.datetime | None:
    """Return the date and time in a cell; None if the cell is not a date.

    The date may be in ISO 8601, have slashes and the year first, or have the month's English name,
    such as December 26th, 2013, or 26 Dec 2013 14:30. A month or quarter, such as 2013-12, Dec
    2013, 2013-Q4 or Q4 2013, means its first day. Unless `keep_offset`, an offset from UTC is
    dropped, so that the result has the local hour.
    """
    text = cell.strip()
    if quarter := QUARTER.fullmatch(text):
        year, number = quarter[1] or quarter[4], quarter[2] or quarter[3]
        text = f"{year}-{3 * int(number) - 2:02}-01"
    if text[4:5] not in ("-", "/") and text[-1:].isdecimal():
        text = with_number_of_month(text)
    if text[4:5] == "/":
        text = text.replace("/", "-")
    if len(text) == 7 and "18" <= text[:2] <= "21":  # not a number such as 5551-02
        text = f"{text}-01"
    if text[4:5] != "-" or text[10:11] not in SEPARATORS:
        return None
    try:
        date = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return date if keep_offset else date.replace(tzinfo=None)


def with_number_of_month(text: str) -> str:
    words = [word.strip(".,").lower() for word in text.replace("-", " ").split()]
    if len(words) == 2:
        words.insert(0, "1")
    if len(words) not in (3, 4):
        return text
    day, name, year = words[1::-1] + words[2:3] if words[0].isalpha() else words[:3]
    if day[-2:] in ENDINGS:
        day = day[:-2]
    month = next((k for k, each in enumerate(MONTHS, 1) if name in (each, each[:3])), None)
    if name == "sept":
        month = 9
    if month is None or not (day.isdecimal() and year.isdecimal() and len(year) == 4):
        return text
    return " ".join([f"{year}-{month:02}-{day:0>2}", *words[3:]])
