"""Reading tables from files: delimited text, plain or compressed with gzip, and Parquet."""

from __future__ import annotations

import itertools
import os
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np

from gpunn.configurable import check_choice, check_strings
from gpunn.data.text_rows import numbers_of, open_rows
from gpunn.errors import ArgumentError, DataError, DataFileError
from gpunn.optional import require
from gpunn.rows.cells import Markers, is_code, number_of, with_point
from gpunn.rows.csv_rows import check_width, columns_of, is_header, wrong_delimiter
from gpunn.rows.lines import RowsError
from gpunn.storage.reading import checked_path, open_file
from gpunn.tables.cells import EXACT_INTEGERS, remark_on_rounding
from gpunn.tables.frames import table_of
from gpunn.tables.number_formats import AMBIGUOUS
from gpunn.tables.table import Cells, Coded, Table, check_column_names

# Cells that become Python objects at a time. Few fit into the processor's cache, and are freed
# before the garbage collector moves them to an older generation: 2^16 cells took twice as long.
BLOCK_CELLS = 2**11


def read_table(
    path: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    decimal: Literal[".", ","] | None = None,
    header: bool | Literal["auto"] = "auto",
    text: Sequence[str] = (),
    missing_values: Sequence[str] = (),
) -> Table:
    r"""Read a table from a file; columns may contain numbers or text.

    Parameters
    ----------
    path : path-like
        UTF-8 text with a delimiter between cells, such as CSV or TSV. The file may be compressed
        with gzip, and cells are quoted as in `gpunn.data.load_csv`. A name that ends in ".parquet"
        means a Parquet file, which requires the package pyarrow; other arguments have no effect on
        Parquet files.
    delimiter : str or None
        The character between cells. None detects a comma, semicolon, tab or "|".
    decimal : {".", ","} or None
        The decimal mark. If the comma is not the delimiter, None also accepts decimal commas in
        columns without points.
    header : bool or "auto"
        Whether the first row has the column names. "auto" means False if all cells of the first row
        are numbers, otherwise True. A column without a name gets a name with its number, counted
        from 0, such as "Unnamed: 0". Without a header, the names are the column numbers.
    text : sequence of str
        Columns whose cells stay text even if the text is a number; "+7" then differs from "7".
        Columns with a code such as "007" always stay text.
    missing_values : sequence of str
        Further strings that mean a missing value; see `Schema.fit`.

    Returns
    -------
    Table
        The table. A column is an array of numbers if every cell that is not missing is a number.

    Raises
    ------
    DataFileError
        If the file is empty, damaged or of another kind. Also if a row has too few or too many
        cells, two columns have the same name, or there are more than 100,000 columns.
    ArgumentError
        If an argument is invalid, or names a column that does not exist.
    MissingPackageError
        If the file is Parquet and pyarrow is not installed.
    OSError
        If the file can't be opened.

    See Also
    --------
    gpunn.data.load_csv : Reads numbers only, with a target.

    Examples
    --------
    >>> from pathlib import Path
    >>> written = Path("people.csv").write_text("age;city\n31;Oslo\n;Rome\n")
    >>> table = gpunn.tables.read_table("people.csv")
    >>> table.names, table.column("age").tolist()
    (('age', 'city'), [31.0, nan])
    """
    text = check_strings("text", text)
    missing_values = check_strings("missing_values", missing_values)
    table = table_in_file(path, delimiter, decimal, header, text, missing_values)
    unknown = [name for name in text if name not in table]
    if unknown and table.unit == "line":  # for other files, `text` has no effect
        check_choice("text", unknown[0], table.names, "column")
    return table


def table_in_file(
    path: str | os.PathLike[str],
    delimiter: str | None,
    decimal: str | None,
    header: bool | Literal["auto"],
    text: Sequence[str],
    missing_values: Sequence[str],
) -> Table:
    # Names in `text` that are not columns are ignored.
    path = checked_path(path)
    if Path(path).suffix == ".parquet":
        return read_parquet(path)
    if delimiter is not None and (problem := wrong_delimiter(delimiter)):
        raise ArgumentError(f"delimiter: {problem}")
    if decimal not in (None, ".", ","):
        raise ArgumentError(f'decimal: expected ".", "," or None; got {decimal!r}')
    if header not in (True, False, "auto"):
        raise ArgumentError(f'header: expected True, False or "auto"; got {header!r}')
    return Reader(path, delimiter, decimal, header, Markers.of(missing_values)).read(text)


def read_parquet(path: str) -> Table:
    parquet = require("pyarrow.parquet", "reading Parquet files", "pip install pyarrow")
    with open_file(path, DataFileError) as file:
        try:
            frame = parquet.read_table(file)
        except (ValueError, OSError) as error:  # as pyarrow's own errors are
            raise DataFileError(f"{path}: not a readable Parquet file: {error}") from error
    return table_of(frame, path)


NO_NAMES = "if the first row has no column names, set header=False (--no-header)"

MARKS = {",": "comma", ".": "point"}

CODE_LIKE = re.compile(r"\n[ \t]*0[0-9]")
"""Matches the end of a line, then the start of a cell that may be a code."""

NO_CODES: dict[str, int] = {}
"""Marks a column in which no text has been read yet."""


def first_number(names: Sequence[str]) -> str | None:
    """Return the first name that is a number, or None if no name is a number.

    If several names are numbers, and these are integers in ascending order, like years, the result
    is also None.
    """
    numbers = [number for name in names if (number := number_of(name)) is not None]
    if len(numbers) > 1 and all(
        before < after and not after % 1 and not before % 1
        for before, after in itertools.pairwise(numbers)
    ):
        return None
    return next((name for name in names if number_of(name) is not None), None)


@dataclass
class Reader:
    """Reads a text file; if text follows numbers in a column, reads the column again as text."""

    path: str
    delimiter: str | None
    decimal: str | None
    header: bool | Literal["auto"]
    markers: Markers
    header_detected: bool = False

    def read(self, text: Sequence[str]) -> Table:
        lines, columns = self._pass(text)
        late = [name for name, column in columns.items() if column.is_late]
        if late:
            columns |= self._pass(late, late)[1]
        cells = [column.finish() for column in columns.values()]
        return Table(
            list(columns),
            len(lines),
            cells.__getitem__,
            numbers=lines,
            unit="line",
            title=self.path,
            doubts=self._doubts(columns),
        )

    def _doubts(self, columns: dict[str, CellReader]) -> dict[str, str]:
        # If three digits follow every mark in a column, the mark may separate decimals or
        # thousands. The marks in other columns may decide between the two.
        sure = self.decimal == "," or any(
            column.mark == "," and not column.ambiguous for column in columns.values()
        )
        doubts = {}
        odd = first_number([*columns]) if self.header_detected else None
        for name, column in columns.items():
            if name == odd:
                doubts[name] = f"this name is a number; {NO_NAMES}"
            elif column.rounding:
                doubts[name] = column.rounding
            elif column.ambiguous and (column.mark == ".") == sure:
                number = float(column.ambiguous.replace(",", "."))
                doubts[name] = (
                    f"{column.ambiguous!r} was read as {number:g}; if its {MARKS[column.mark]} "
                    "separates thousands, remove such separators"
                )
        return doubts

    def _pass(
        self, text: Sequence[str], only: Sequence[str] | None = None
    ) -> tuple[np.ndarray, dict[str, CellReader]]:
        lines = array("q")
        with open_rows(self.path, self.delimiter) as (delimiter, rows):
            first = next(rows, None)
            if first is None:
                raise RowsError("the file is empty")
            check_width(first, delimiter)
            commas = delimiter != "," if self.decimal is None else self.decimal == ","
            names, has_header = self._names(first[1], commas)
            rows = rows if has_header else chain([first], rows)
            columns = {
                name: CellReader(self.markers, commas, name in text)
                for name in names
                if only is None or name in only
            }
            wanted = [columns.get(name) for name in names]
            while block := list(islice(rows, max(1, BLOCK_CELLS // len(names)))):
                lines.extend(line for line, _ in block)
                cells = zip(*(row for _, row in block), strict=True)
                for column, part in zip(wanted, cells, strict=True):
                    if column is not None:
                        column.add(part)
            if not lines:
                raise RowsError("there are no rows below the header")
        return np.array(lines, dtype=np.int64), columns

    def _names(self, first: Sequence[str], commas: bool) -> tuple[list[str], bool]:
        top = [cell.strip() for cell in first]
        self.header_detected = self.header == "auto" and is_header(top, commas)
        has_header = self.header_detected or self.header is True
        names = columns_of(top, has_header)
        try:
            check_column_names(names, self.path)
        except DataError as error:
            doubt = self.header_detected and first_number(names)
            raise DataFileError(f"{error}; {NO_NAMES}" if doubt else str(error)) from None
        return names, has_header


class CellReader:
    """Collects the cells of a column, as numbers or as text.

    `is_late` means that text followed numbers; then the column must be read again as text. `mark`
    is the decimal mark, or "". With `commas`, a comma may be the decimal mark.

    If all marks may separate thousands, `ambiguous` is the first cell with a mark, otherwise "".
    `rounding` is a remark on a rounded integer, or "".
    """

    __slots__ = (
        *("_blocks", "_codes", "_commas", "_markers", "_values"),
        *("is_late", "ambiguous", "mark", "rounding"),
    )

    def __init__(self, markers: Markers, commas: bool, is_text: bool) -> None:
        self._markers, self._commas = markers, commas
        self.is_late = False
        self.mark = self.ambiguous = self.rounding = ""
        self._blocks: list[np.ndarray] = []
        self._values: dict[str, int] | None = {} if is_text else None
        self._codes: dict[str, int] = NO_CODES  # by cell, with the spaces around it

    def add(self, cells: Sequence[str]) -> None:
        if self.is_late:
            return
        if self._values is None:
            numbers = self._numbers(cells)
            if numbers is not None:
                if not self.rounding and (np.abs(numbers) >= EXACT_INTEGERS).any():
                    self.rounding = remark_on_rounding(cells)
                self._blocks.append(numbers)
                return
            self._values, self.is_late = {}, bool(self._blocks)
            self.mark = self.ambiguous = self.rounding = ""
        if not self.is_late:
            self._blocks.append(self._coded(cells, self._values))

    def finish(self) -> Cells:
        cells = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks)
        return cells if self._values is None else Coded(cells, list(self._values))

    def _coded(self, cells: Sequence[str], values: dict[str, int]) -> np.ndarray:
        try:
            return np.fromiter(map(self._codes.__getitem__, cells), np.int32, len(cells))
        except KeyError:
            new = {cell: values.setdefault(cell.strip(), len(values)) for cell in cells}
            if self._codes is NO_CODES:
                self._codes = new
            else:
                self._codes.update(new)
            return np.fromiter(map(new.__getitem__, cells), np.int32, len(cells))

    def _numbers(self, cells: Sequence[str]) -> np.ndarray | None:
        joined = "\n".join(("", *cells))
        if CODE_LIKE.search(joined) and any(is_code(cell.strip()) for cell in cells):
            return None
        numbers = numbers_of(cells)
        if numbers is not None:
            return numbers if self._is_consistent("." if "." in joined else "", cells) else None
        parsed, marks = dict.fromkeys(cells, np.nan), set()
        for cell in parsed:
            text = cell.strip()
            if text.casefold() in self._markers.strings:
                continue
            mark = "," if self._commas and "," in text else "." if "." in text else ""
            number = number_of(with_point(text) if self._commas else text)
            if number is None:
                return None
            parsed[cell] = number
            marks.add(mark)
        if not all(self._is_consistent(mark, parsed) for mark in marks):
            return None
        return np.fromiter(map(parsed.__getitem__, cells), np.float64, len(cells))

    def _is_consistent(self, mark: str, cells: Iterable[str]) -> bool:
        if not (self._commas and mark):
            return True
        if self.mark not in ("", mark):
            return False
        if self.ambiguous or not self.mark:
            marked = [cell.strip() for cell in cells if mark in cell]
            ambiguous = all(map(AMBIGUOUS.fullmatch, marked))
            self.ambiguous = (self.ambiguous or marked[0]) if ambiguous else ""
        self.mark = mark
        return True
