"""Marks within numbers that are text: decimal marks, separators of thousands, signs of money."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["PARTED", "decimal_commas", "number_with_sign", "number_with_thousands"]

APOSTROPHES, SPACES = "'\u2019", " \u00a0\u202f"
BETWEEN = APOSTROPHES + SPACES

COMMA_LIKE = re.compile(r"[-+]?\d+,\d+")

# A group of three digits and a decimal mark.
GROUPED = re.compile(rf"[-+]?\d{{1,3}}(?:(?:[,{BETWEEN}]\d{{3}})+\.|(?:[.{BETWEEN}]\d{{3}})+,)\d+")
GROUPED_OR_NOT = re.compile(rf"[-+]?\d{{1,3}}(?:[,.{BETWEEN}]?\d{{3}})*(?:[.,]\d+)?")

WHOLE = re.compile(rf"[-+]?[1-9]\d{{0,2}}(?:([,.{BETWEEN}])\d{{3}})(?:\1\d{{3}})*")
"""Groups of three digits alone."""

PARTED = re.compile(r"[-+]?[1-9]\d{0,2}[,.]\d{3}")
"""Either has a decimal mark before three digits, or a separator of thousands."""

SIGNS = "$\u20ac\xa3\xa5\u20b9%"  # dollar, euro, pound, yen, rupee, per cent
SPELLED = rf"[-+]?\d[\d.,{BETWEEN}]*"
SIGNED = re.compile(rf"[-+]?[{SIGNS}] ?{SPELLED}|{SPELLED}[{SIGNS}]")


def decimal_commas(texts: Sequence[str]) -> bool:
    """Return whether all texts are numbers with a decimal comma, or may be."""
    return bool(texts) and all(map(COMMA_LIKE.fullmatch, texts))


def number_with_thousands(texts: Sequence[str]) -> str | None:
    """Return the first number with separators of thousands; None unless all texts are numbers.

    Telephone numbers are groups alone, too, but all of as many, without commas and apostrophes.
    """
    if not all(map(GROUPED_OR_NOT.fullmatch, texts)):
        return None
    if found := next(filter(GROUPED.fullmatch, texts), None):
        return found
    found = next(filter(WHOLE.fullmatch, texts), None)
    if found is None:
        return None
    groups = {len(re.findall(r"\d+", text)) for text in texts}
    return found if len(groups) > 1 or set(found) & {",", *APOSTROPHES} else None


def number_with_sign(texts: Sequence[str]) -> str | None:
    """Return the first text if all are numbers with a sign of money or per cent; else None."""
    return texts[0] if texts and all(map(SIGNED.fullmatch, texts)) else None
