"""What looks wrong with a column of the training rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpunn.rows.cells import Markers
from gpunn.tables.cells import dates_of, numbers_of
from gpunn.tables.number_formats import (
    PARTED,
    decimal_commas,
    number_with_sign,
    number_with_thousands,
)
from gpunn.tables.table import Coded, Table, row_name

__all__ = ["FEW", "Remarks", "is_marker", "remarks_on_categories"]

FEW = 20
"""Fewer rows than this say nothing of whether a column is an identifier."""

ROUNDED = "numbers too large to tell apart; if they are codes, make the column a category"

MEND = (
    "correct such cells, leave them empty, or say that they mean missing values (missing_values, "
    "--missing)"
)

NAMELESS = re.compile(r"Unnamed: \d+")
"""What gpunn, and pandas, call a column of a file that has no name there."""

DATE_LIKE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")


def is_marker(value: object, markers: Markers) -> bool:
    """Return whether a value is text that means a missing one."""
    return isinstance(value, str) and value.strip() in markers


def remarks_on_categories(
    table: Table, name: str, cells: Coded, texts: Sequence[str | None], markers: Markers
) -> tuple[list[str], bool]:
    """Return what looks wrong with a column of text, and whether most of it is of another kind.

    `texts` are what each value of the cells is called; None if it means a missing one.
    """
    named = [position for position, text in enumerate(texts) if text is not None]
    remarks, is_other = [], False
    for nouns, find in (("numbers", numbers_of), ("dates", dates_of)):
        others = find(cells, markers)[1]
        fitting = len(named) - len(others)
        if fitting and others:
            where = row_name(table, cells.first_row(others[0]))
            remarks.append(
                f"{nouns} and text: {fitting:,} of {len(named):,} values are {nouns}, but not "
                f"{cells.values[others[0]]!r:.40} ({where})"
            )
            if fitting > len(others):
                remarks[-1] += f": {MEND}"
                is_other = True
    spelled = [texts[position] or "" for position in named]
    if named and all(map(DATE_LIKE.fullmatch, spelled)):
        marked = (
            f"dates such as {spelled[0]!r}, which are read only with the year first (2026-05-31)"
        )
    else:
        marked = remark_on_marks(spelled)
    if marked:
        remarks.append(marked)
    return remarks, is_other or bool(marked)


def remark_on_marks(texts: Sequence[str]) -> str:
    """Return what keeps texts from being read as numbers; nothing unless all may be some."""
    parted = number_with_thousands(texts)
    if decimal_commas(texts):
        read = "read them with decimal=',' (--decimal ,)"
        if parted and all(map(PARTED.fullmatch, texts)):
            return (
                f"numbers with thousands separators or decimal commas, such as {parted!r}: remove "
                f"the separators, or {read}"
            )
        return f"numbers with decimal commas, such as {texts[0]!r}: {read}"
    if parted:
        return f"numbers with thousands separators, such as {parted!r}: remove the separators"
    if signed := number_with_sign(texts):
        return f"numbers with a sign, such as {signed!r}: remove the sign"
    return ""


class Remarks:
    """What looks wrong with a column, and whether it is dropped for that."""

    def __init__(self, name: str, missing: int, rows: int) -> None:
        self._missing, self._rows = missing, rows
        self._remarks: list[str] = []
        self._dropped = False
        if NAMELESS.fullmatch(name):
            self.add("it has no name: if it is an index that was saved, drop it, else name it")
        if rows > missing > rows / 2:
            self.add(f"missing in {100 * missing // rows} % of the rows")

    def add(self, remark: str) -> None:
        """Add what looks wrong; nothing if the remark is empty."""
        if remark:
            self._remarks.append(remark)

    def drop_since(self, reason: str) -> None:
        """Drop the column."""
        self._dropped = True
        self._remarks.insert(0, f"dropped: {reason}")

    def drop(self, constant: bool, rounded: bool = False) -> bool:
        """Return whether the column is dropped, as it is if all rows have the same value.

        `rounded` tells whether they may have different ones that are the same float64.
        """
        if self._missing == self._rows:
            self.drop_since("no row has a value")
        elif constant and not self._missing:
            self.drop_since(ROUNDED if rounded else "the same in every row")
        elif constant:
            self.add(ROUNDED if rounded else "the same in every row that has a value")
        return self._dropped

    @property
    def text(self) -> str:
        """All of it."""
        return "; ".join(self._remarks)
