"""What is learned from a column of the training rows: kind, categories, what looks wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gpunn.errors import DataError
from gpunn.tables.cells import (
    EXACT_INTEGERS,
    Markers,
    boolean_text,
    coded,
    dates_of,
    is_code,
    numbers_of,
    remark_on_rounding,
    texts_of,
)
from gpunn.tables.columns import Column, Kind
from gpunn.tables.dates import PARTS
from gpunn.tables.marks import PARTED, decimal_commas, marked_numbers, signed_numbers
from gpunn.tables.table import Cells, Coded, Table

__all__ = ["Learned", "finite_numbers", "is_marker", "learned_from", "valid_dates"]

FEW = 20
"""Fewer rows than this say nothing of whether a column is an identifier."""

MANY_CATEGORIES = 1000

MOST_YEARS = 200_000
"""Of a date from 1970. Microseconds of later ones don't fit into 64 bits."""

BOOLEANS = ("False", "True")

ROUNDED = "numbers too large to tell apart; if they are codes, make the column a category"

MEND = (
    "correct such cells, leave them empty, or say that they mean missing values (missing_values, "
    "--missing)"
)

CODES = (
    "{!r:.40} begins with 0, so these are codes; if they are numbers, make the column a number "
    "(--column NAME=number)"
)

NAMELESS = re.compile(r"Unnamed: \d+")
"""What gpunn, and pandas, call a column of a file that has no name there."""

DATE_LIKE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")


@dataclass(frozen=True, eq=False)
class Learned:
    """A column, and its numbers that are to be scaled.

    Attributes
    ----------
    column : Column
    numbers : ndarray of float64 or None
        Of a column of numbers, without missing ones.
    parts : dict of str to ndarray of float64
        Of a column of dates, without missing ones.
    """

    column: Column
    numbers: np.ndarray | None = None
    parts: dict[str, np.ndarray] = field(default_factory=dict)


def learned_from(
    table: Table, name: str, kind: Kind | None, markers: Markers, every: Table
) -> Learned:
    """Return what is learned from a column.

    Parameters
    ----------
    table : Table
        The training rows.
    name : str
        Of the column.
    kind : str or None
        None to find it from the cells of `every`.
    markers : Markers
        Cells that mean a missing value.
    every : Table
        All rows that there are: whether a column is of numbers, or is an identifier, must not
        depend on which of them are drawn for training.

    Raises
    ------
    DataError
        If a number is infinite, or the column is not of the given kind; the message says where.
    """
    found = kind or kind_of(every.column(name), markers)
    if found == "number":
        return numeric(table, name, markers, every, chosen=kind is not None)
    if found == "datetime":
        return dated(table, name, markers)
    return categorical(table, name, found, markers, every, chosen=kind is not None)


def kind_of(cells: Cells, markers: Markers) -> Kind:
    """Return the kind of a column. Text that spells only numbers, or only dates, is such.

    A number has no zero before its other digits: a column with such a code is a category.
    """
    if isinstance(cells, np.ndarray):
        return {"b": "boolean", "M": "datetime"}.get(cells.dtype.kind, "number")  # type: ignore[return-value]
    if cells.categorical:
        return "category"
    values = [value for value in cells.values if not is_marker(value, markers)]
    if not values:
        return "number"
    if all(is_boolean(value) for value in values):
        return "boolean"
    if any(isinstance(value, str) and is_code(value.strip()) for value in values):
        return "category"
    if not numbers_of(cells, markers)[1]:
        return "number"
    return "category" if dates_of(cells, markers)[1] else "datetime"


def is_marker(value: object, markers: Markers) -> bool:
    """Return whether a value is text that means a missing one."""
    return isinstance(value, str) and value.strip() in markers


def is_boolean(value: object) -> bool:
    """Return whether a value is True or False, or one of these words."""
    if isinstance(value, str):
        return value.strip().casefold() in ("true", "false")
    return isinstance(value, (bool, np.bool_))


# --------------------------------------------------------------------------------- numbers, dates


def finite_numbers(table: Table, name: str, markers: Markers) -> np.ndarray:
    """Return the numbers of a column, NaN where they are missing.

    Raises
    ------
    DataError
        If a cell is no number, or infinite; the message says where.
    """
    cells = table.column(name)
    numbers, others = numbers_of(cells, markers)
    if others:
        raise wrong_cell(table, name, coded(cells), others, "a number")
    infinite = np.isinf(numbers)
    if infinite.any():
        row = int(infinite.argmax())
        raise DataError(
            f"{table.place(name, row)}: expected a finite number; got {numbers[row]}. Correct it, "
            "or leave the cell empty"
        )
    return numbers


def valid_dates(table: Table, name: str, markers: Markers) -> np.ndarray:
    """Return the dates of a column, NaT where they are missing.

    Raises
    ------
    DataError
        If a cell is no date; the message says where.
    """
    cells = table.column(name)
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        years = cells.astype("datetime64[Y]").astype(np.int64)
        far = ~np.isnat(cells) & (np.abs(years) > MOST_YEARS)
        if far.any():
            row = int(far.argmax())
            raise DataError(f"{table.place(name, row)}: the date {cells[row]} is too far away")
    dates, others = dates_of(cells, markers)
    if others:
        expected = "a date such as 2026-05-31 or 2026-05-31 14:30"
        raise wrong_cell(table, name, coded(cells), others, expected)
    return dates


def wrong_cell(
    table: Table, name: str, cells: Coded, others: Sequence[int], expected: str
) -> DataError:
    """Return the error for the first cell that is not of a column's kind."""
    rows = np.isin(cells.codes, others)
    row = int(rows.argmax())
    more = int(rows.sum()) - 1
    further = f", and so {'is' if more == 1 else 'are'} {more:,} more" if more else ""
    value = cells.values[cells.codes[row]]
    return DataError(
        f"{table.place(name, row)}: expected {expected}; got {value!r:.80}{further}. Correct it, "
        "leave the cell empty, or make the column a category"
    )


def numeric(table: Table, name: str, markers: Markers, every: Table, *, chosen: bool) -> Learned:
    """Return what is learned from a column of numbers; `chosen` if the user has said so."""
    numbers = finite_numbers(table, name, markers)
    present = numbers[~np.isnan(numbers)]
    missing = len(numbers) - len(present)
    remarks = Remarks(name, missing, len(numbers))
    constant = len(present) == 0 or bool(present.min() == present.max())
    if not (constant or chosen):
        remarks.add(every.doubts.get(name, "") or remark_on_size(table.column(name)))
    if is_identifier(present):
        remarks.add("every row has another whole number: if it is an identifier, drop it")
    rounded = constant and may_be_rounded(table.column(name), present)
    dropped = remarks.drop(constant, rounded)
    column = Column(
        name=name,
        kind="number",
        missing=missing,
        constant=constant,
        dropped=dropped,
        reported=remarks.text,
    )
    return Learned(column, None if constant else present)


def dated(table: Table, name: str, markers: Markers) -> Learned:
    """Return what is learned from a column of dates."""
    dates = valid_dates(table, name, markers)
    present = dates[~np.isnat(dates)]
    missing = len(dates) - len(present)
    remarks = Remarks(name, missing, len(dates))
    parts = {part: function(present).astype(np.float64) for part, function in PARTS.items()}
    varied = {part: each for part, each in parts.items() if len(each) and each.min() < each.max()}
    dropped = remarks.drop(not varied)
    column = Column(
        name=name,
        kind="datetime",
        parts=tuple(varied),
        missing=missing,
        constant=not varied,
        dropped=dropped,
        reported=remarks.text,
    )
    return Learned(column, parts=varied)


def remark_on_size(cells: Cells) -> str:
    """Return that a whole number has been rounded, unless the cells are floats."""
    if isinstance(cells, Coded):
        return remark_on_rounding(cells.values)
    if cells.dtype.kind not in "iu":
        return ""
    large = np.abs(cells.astype(np.float64)) >= EXACT_INTEGERS
    return remark_on_rounding(cells[large].tolist())


def may_be_rounded(cells: Cells, present: np.ndarray) -> bool:
    """Return whether equal numbers may have been different whole numbers before they were floats.

    Those of a file have been read as floats, so of these it can't be told.
    """
    if not len(present) or abs(present[0]) < EXACT_INTEGERS:
        return False
    is_float = isinstance(cells, np.ndarray) and cells.dtype.kind == "f"
    return is_float or len(coded(cells).values) > 1


def is_identifier(numbers: np.ndarray) -> bool:
    """Return whether numbers are whole and all different."""
    if len(numbers) < FEW or (numbers[:FEW] % 1 != 0).any() or (numbers % 1 != 0).any():
        return False
    return len(np.unique(numbers)) == len(numbers)


# ------------------------------------------------------------------------------------- categories


def categorical(
    table: Table, name: str, kind: Kind, markers: Markers, every: Table, *, chosen: bool
) -> Learned:
    """Return what is learned from a column of categories; `chosen` if the user has said so."""
    cells = coded(table.column(name))
    texts = texts_of(cells.values, markers)
    if kind == "boolean":
        texts = [None if text is None else boolean_text(text) for text in texts]
        others = [
            number for number, text in enumerate(texts) if text is not None and text not in BOOLEANS
        ]
        if others:
            raise wrong_cell(table, name, cells, others, "true or false")
    occurring = {text for text in texts if text is not None}
    named = np.array([text is not None for text in texts], dtype=bool)
    missing = len(cells) - int(cells.take(named, False).sum())
    present = len(cells) - missing
    remarks = Remarks(name, missing, len(cells))
    constant = len(occurring) <= 1

    found, is_other, is_unique = list[str](), False, False
    if kind == "category" and not cells.categorical:
        whole = cells if every is table else coded(every.column(name))
        whole_texts = texts if whole is cells else texts_of(whole.values, markers)
        found, is_other = remarks_on_categories(every, name, whole, whole_texts, markers)
        code = next((text for text in whole_texts if text is not None and is_code(text)), None)
        if code is not None and not (chosen or found):  # else there is other text
            found.append(CODES.format(code))
        is_unique = not (chosen or is_other) and all_different(whole, whole_texts)
    if not constant and kind == "category":
        count = len(occurring)
        if is_unique:
            remarks.drop_since("every row has another text, as an identifier has")
        elif not is_other and (count > MANY_CATEGORIES or (count >= FEW and count > present / 2)):
            remarks.add(
                f"{count:,} categories in {present:,} rows: if it is an identifier, drop it"
            )
    dropped = remarks.drop(constant)
    if not dropped:  # they quote cells, of which a model's file then is to hold none
        for remark in found:
            remarks.add(remark)
    categories = () if dropped else tuple(sorted(occurring))
    column = Column(
        name=name,
        kind=kind,
        categories=BOOLEANS if kind == "boolean" else categories,
        missing=missing,
        constant=constant,
        dropped=dropped,
        doubtful=is_other and not (chosen or dropped),
        reported=remarks.text,
    )
    return Learned(column)


def all_different(cells: Coded, texts: Sequence[str | None]) -> bool:
    """Return whether so many cells as say something are all different; `texts` are the values'."""
    named = np.array([text is not None for text in texts], dtype=bool)
    rows = int(cells.take(named, False).sum())
    return rows >= FEW and len(set(texts) - {None}) == rows


def remarks_on_categories(
    table: Table, name: str, cells: Coded, texts: Sequence[str | None], markers: Markers
) -> tuple[list[str], bool]:
    """Return what looks wrong with a column of text, and whether most of it is of another kind.

    Parameters
    ----------
    table, name : Table, str
        The column.
    cells : Coded
        Its cells.
    texts : sequence of str or None
        What each value is called; None if it means a missing one.
    markers : Markers
    """
    named = [place for place, text in enumerate(texts) if text is not None]
    remarks, is_other = [], False
    for nouns, find in (("numbers", numbers_of), ("dates", dates_of)):
        others = find(cells, markers)[1]
        fitting = len(named) - len(others)
        if fitting and others:
            where = table.place(name, cells.first_row(others[0])).rpartition(", ")[2]
            remarks.append(
                f"{nouns} and text: {fitting:,} of {len(named):,} values are {nouns}, but not "
                f"{cells.values[others[0]]!r:.40} ({where})"
            )
            if fitting > len(others):
                remarks[-1] += f": {MEND}"
                is_other = True
    spelled = [texts[place] or "" for place in named]
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
    parted = marked_numbers(texts)
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
    if signed := signed_numbers(texts):
        return f"numbers with a sign, such as {signed!r}: remove the sign"
    return ""


class Remarks:
    """What looks wrong with a column, and whether it is dropped for that.

    Parameters
    ----------
    name : str
        Of the column.
    missing, rows : int
        How many of the rows have no value.
    """

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
        """Return whether the column is dropped, which it is, too, if it tells nothing.

        Parameters
        ----------
        constant : bool
            Whether all rows that have a value have the same.
        rounded : bool
            Whether they may have different ones that are the same float64.
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
