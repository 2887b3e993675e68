"""Remarks on problems with a column of the training rows."""

import re
from collections.abc import Sequence

from gpunn.rows.cells import Markers
from gpunn.tables.cells import dates_of, numbers_of
from gpunn.tables.date_formats import are_seasons, is_time, remark_on_dates
from gpunn.tables.number_formats import (
    AMBIGUOUS,
    decimal_commas,
    format_of_numbers,
    units_of,
    with_thousands,
)
from gpunn.tables.table import Coded, Table, row_name

FEW = 20
"""Minimum number of rows of a table whose columns are reported as identifiers."""

ROUNDED = (
    "all numbers are equal, maybe only because large numbers are rounded; if the column contains "
    "codes, make it a category"
)

ADVICE = (
    "correct these cells, leave them empty, declare them missing values (missing_values, "
    "--missing), or choose --column NAME=category"
)

NAMELESS = re.compile(r"Unnamed: \d+")
"""Matches the name that gpunn and pandas give to an unnamed column of a file."""


def is_marker(value: object, markers: Markers) -> bool:
    return isinstance(value, str) and value.strip() in markers


def remarks_on_categories(
    table: Table, name: str, cells: Coded, texts: Sequence[str | None], markers: Markers
) -> tuple[list[str], bool]:
    named = [position for position, text in enumerate(texts) if text is not None]
    spelled = [texts[position] or "" for position in named]
    if are_seasons(spelled):
        return [], False
    remarks, is_other = [], False
    for nouns, others in (
        ("numbers", numbers_of(cells, markers)[1]),
        ("dates", dates_of(cells, markers)[1]),
        ("times", [position for position in named if not is_time(texts[position] or "")]),
    ):
        fitting = len(named) - len(others)
        if fitting and others:
            where = row_name(table, cells.first_row(others[0]))
            remarks.append(
                f"{nouns} and text: {fitting:,} of {len(named):,} values are {nouns}, but "
                f"{cells.values[others[0]]!r:.40} ({where}) is not"
            )
            if fitting > len(others):
                remarks[-1] += f": {ADVICE}"
                is_other = True
    marked = remark_on_dates(spelled) or remark_on_marks(spelled)
    remarks += filter(None, (marked, remark_on_case(spelled)))
    return remarks, is_other or bool(marked)


def remark_on_case(texts: Sequence[str]) -> str:
    first: dict[str, str] = {}
    for text in texts:
        other = first.setdefault(text.lower(), text)
        if other != text:
            return (
                f"{other!r:.40} and {text!r:.40} differ only in upper and lower case, but are "
                "different categories: spell them in the same way"
            )
    return ""


def remark_on_marks(texts: Sequence[str]) -> str:
    grouped = with_thousands(texts)
    if decimal_commas(texts):
        option = "decimal=',' (--decimal ,)"
        if grouped and all(map(AMBIGUOUS.fullmatch, texts)):
            return (
                f"numbers with thousands separators or decimal commas, such as {grouped!r}: remove "
                f"the separators, or read decimal commas with {option}"
            )
        return f"numbers with decimal commas, such as {texts[0]!r}: read them with {option}"
    if grouped:
        return f"numbers with thousands separators, such as {grouped!r}: remove the separators"
    if (units := units_of(texts)) and not format_of_numbers(texts, chosen=True)[0]:
        listed = " and ".join(f"{text!r:.40}" for text in [*units.values()][:2])
        what = "different units" if len(units) > 1 else "a unit and different decimal marks"
        return f"numbers with {what}, such as {listed}: write all numbers in the same way"
    return ""


class Remarks:
    def __init__(self, name: str, missing: int, rows: int) -> None:
        self._missing, self._rows = missing, rows
        self._remarks: list[str] = []
        self._dropped = False
        if NAMELESS.fullmatch(name):
            self.add("has no name: drop the column if it is a saved index, otherwise name it")
        if rows > missing > rows / 2:
            self.add(f"missing in {100 * missing // rows} % of the rows")

    def add(self, remark: str) -> None:
        if remark:
            self._remarks.append(remark)

    def drop_because(self, reason: str) -> None:
        self._dropped = True
        self._remarks.insert(0, f"dropped: {reason}")

    def drop(self, constant: bool, rounded: bool = False) -> bool:
        if self._missing == self._rows:
            self.drop_because("no row has a value")
        elif constant and not self._missing:
            self.drop_because(ROUNDED if rounded else "the same in every row")
        elif constant:
            self.add(ROUNDED if rounded else "the same in every row that has a value")
        return self._dropped

    @property
    def text(self) -> str:
        return "; ".join(self._remarks)
