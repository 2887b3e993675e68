"""Formats of numbers in text: decimal commas, thousands separators, currency symbols."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["AMBIGUOUS", "common_unit", "decimal_commas", "with_sign", "with_thousands"]

APOSTROPHES, SPACES = "'\u2019", " \u00a0\u202f"
BETWEEN = APOSTROPHES + SPACES

COMMA_LIKE = re.compile(r"[-+]?\d+,\d+")

# A group of three digits and a decimal mark.
GROUPED = re.compile(rf"[-+]?\d{{1,3}}(?:(?:[,{BETWEEN}]\d{{3}})+\.|(?:[.{BETWEEN}]\d{{3}})+,)\d+")
GROUPED_OR_NOT = re.compile(rf"[-+]?\d{{1,3}}(?:[,.{BETWEEN}]?\d{{3}})*(?:[.,]\d+)?")

GROUPS_ONLY = re.compile(rf"[-+]?[1-9]\d{{0,2}}(?:([,.{BETWEEN}])\d{{3}})(?:\1\d{{3}})*")
"""Matches groups of three digits without a decimal mark."""

AMBIGUOUS = re.compile(r"[-+]?[1-9]\d{0,2}[,.]\d{3}")
"""Matches a number whose mark may be a decimal mark or a thousands separator."""

SIGNS = "$\u20ac\xa3\xa5\u20b9%"  # dollar, euro, pound, yen, rupee, per cent
SPELLED = rf"[-+]?\d[\d.,{BETWEEN}]*"
SIGNED = re.compile(rf"[-+]?[{SIGNS}] ?{SPELLED}|{SPELLED}[{SIGNS}]")

UNIT = re.compile(rf"{SPELLED}((?:\xb0|[^\W\d_])[\w\xb2\xb3/]{{0,9}})")
"""Matches a number and a unit, such as kg or km/h, or with a degree sign or an exponent."""

MIN_NUMBERS = 3


def decimal_commas(texts: Sequence[str]) -> bool:
    """Return whether all strings may be numbers with a decimal comma."""
    return bool(texts) and all(map(COMMA_LIKE.fullmatch, texts))


def with_thousands(texts: Sequence[str]) -> str | None:
    """Return the first number with thousands separators, or None if a string is not a number.

    Telephone numbers are excluded: all of them have the same number of groups of digits, and no
    commas or apostrophes.
    """
    if not all(map(GROUPED_OR_NOT.fullmatch, texts)):
        return None
    if match := next(filter(GROUPED.fullmatch, texts), None):
        return match
    match = next(filter(GROUPS_ONLY.fullmatch, texts), None)
    if match is None:
        return None
    groups = {len(re.findall(r"\d+", text)) for text in texts}
    return match if len(groups) > 1 or set(match) & {",", *APOSTROPHES} else None


def with_sign(texts: Sequence[str]) -> str | None:
    """If all strings are numbers with a currency or percent sign, return the first of them."""
    return texts[0] if texts and all(map(SIGNED.fullmatch, texts)) else None


def common_unit(texts: Sequence[str]) -> str:
    """Return the unit that follows the number in every string, or "" if there is none.

    At least `MIN_NUMBERS` strings are required, since "2WD" and "4WD" are names.
    """
    matches = [UNIT.fullmatch(text) for text in texts]
    units = {match and match[1] for match in matches}
    unit = units.pop() if len(units) == 1 and len(texts) >= MIN_NUMBERS else None
    return unit or ""
