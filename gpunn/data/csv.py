"""Loader for CSV files with numeric features, and class labels or numbers as the target."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import math
import operator
import os
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import BinaryIO, Literal, TextIO, TypeAlias, TypeVar

import numpy as np

from gpunn.data.limits import check_expansion
from gpunn.errors import ArgumentError, ArgumentTypeError, DataFileError, suggest
from gpunn.rows.cells import MISSING_NUMBERS, number_of
from gpunn.storage.formulas import text_of_cell
from gpunn.storage.reading import LONGEST_LINE, checked_path, open_file

__all__ = [
    "BoundedLines",
    "CSVData",
    "load_csv",
    "numbered_rows",
    "open_table",
]

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"

_BLOCK_CELLS = 2**12  # they stay in the cache; larger blocks took half as long again
_PLACES_SHOWN = 5

LONGEST_NAME = 256
"""Most characters of a class name. An array of names takes four bytes for each character of the
longest name, in every row."""

_Item = TypeVar("_Item", int, str)
_Row: TypeAlias = list[str]
_Numbered: TypeAlias = tuple[int, _Row]
"""The number of a row's last line, and the row."""


@dataclass(frozen=True, eq=False, slots=True)
class CSVData:
    r"""The content of a CSV file.

    Parameters
    ----------
    X : float array of shape (rows, features)
        The features, in the order of `feature_names`.
    y : array of shape (rows,) or None
        The target: class indices (int64) if it is text, where `classes[index]` is the text; int64
        if every cell is an integer; else floating-point numbers. None if there is no target.
    feature_names : tuple of str
        Column names; without a header the column numbers, counted from 0.
    target_name : str or None
        Name of the target column.
    classes : tuple of str or None
        The sorted distinct texts of a text target; None for any other.
    has_header : bool
        Whether the names come from the file's first row.

    See Also
    --------
    load_csv : Returns one.

    Examples
    --------
    >>> import gpunn
    >>> from pathlib import Path
    >>> written = Path("flowers.csv").write_text("width,kind\n1.5,rose\n0.5,daisy\n")
    >>> data = gpunn.data.load_csv("flowers.csv", target="kind")
    >>> data.feature_names, data.classes
    (('width',), ('daisy', 'rose'))
    """

    X: np.ndarray
    y: np.ndarray | None
    feature_names: tuple[str, ...]
    target_name: str | None
    classes: tuple[str, ...] | None
    has_header: bool


def load_csv(
    path: str | os.PathLike[str],
    target: str | int | None,
    *,
    header: bool | Literal["auto"] = "auto",
    delimiter: str = ",",
    features: Sequence[str | int] | None = None,
    dtype: str | np.dtype = "float32",
    missing: Collection[str] = MISSING_NUMBERS,
) -> CSVData:
    r"""Load a CSV file in UTF-8, which may be compressed with gzip.

    Empty lines are skipped, and spaces around cells ignored. Quoting is that of Python's `csv`
    module: cells may be quoted with `"`, and a quote inside is doubled. The apostrophe that keeps a
    spreadsheet from taking a class name for a formula, as in `'=1+1`, is removed.

    Parameters
    ----------
    path : path-like
        File to read.
    target : str, int or None
        Name or number of the column to predict. Numbers count from 0, or from the end where
        negative: -1 is the last column. None if there is no target.
    header : bool or "auto"
        Whether the first row has the column names. "auto" is True if `target` or one of `features`
        is a name, or if the first row has text above a number in the second row. A header that is
        all numbers needs True.
    delimiter : str
        The character between cells.
    features : sequence of str and int, optional
        Names or numbers of the feature columns, in this order. By default all but the target.
    dtype : "float32" or "float64"
        Dtype of the features and of a floating-point target.
    missing : collection of str
        Cells that mean a missing value, in any case; numbers, such as -999, in any spelling. NaN
        always does.

    Returns
    -------
    CSVData
        Features, target and their names.

    Raises
    ------
    DataFileError
        If a value is missing; a feature is not a finite number of the given dtype; a row has too
        few or too many cells, or more than 16 MiB; a class name has more than 256 characters; a
        column occurs twice in the header, or does not exist; or the file is empty, not in UTF-8,
        wrongly quoted or not a regular file. The message names lines and columns.
    ArgumentError
        If another argument has an impossible value.
    ArgumentTypeError
        If a column is neither a name nor a number.
    OSError
        If the file can't be opened.

    See Also
    --------
    gpunn.tables.read_table : Reads columns of text, dates and gaps, too.

    Examples
    --------
    >>> import gpunn
    >>> from pathlib import Path
    >>> written = Path("flowers.csv").write_text("width,kind\n1.5,rose\n0.5,daisy\n")
    >>> data = gpunn.data.load_csv("flowers.csv", target="kind")
    >>> data.X.tolist(), data.y.tolist()
    ([[1.5], [0.5]], [1, 0])
    """
    path = checked_path(path)
    if header not in (True, False, "auto"):
        raise ArgumentError(f'header: expected True, False or "auto", got {header!r}')
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"':
        raise ArgumentError(
            f"delimiter: expected one character other than a quote or line end, got {delimiter!r}"
        )
    if dtype not in (np.float32, np.float64, "float32", "float64"):
        raise ArgumentError(f'dtype: expected "float32" or "float64", got {dtype!r}')
    float_type = np.dtype(dtype)
    for argument, value in (("features", features), ("missing", missing)):
        if isinstance(value, str):
            raise ArgumentTypeError(f"{argument}: expected a list, got the text {value!r}")
    markers = frozenset(text.strip().casefold() for text in missing)

    # The target is read as numbers until a cell is text. Numbers don't keep the spelling ("007"
    # reads as 7), so the file is then read again from its start, as text; nearly always that
    # happens within the first block.
    def read(target_type: type[_NumericTarget] | type[_TextTarget]) -> CSVData:
        parser = _Parser(path, float_type, markers)
        with open_table(path) as file:
            rows = numbered_rows(path, file, delimiter)
            table = _open_table(path, rows, target, features, header, parser)
            return _read(table, target_type, parser)

    try:
        return read(_NumericTarget)
    except _TextTargetError:
        return read(_TextTarget)


@dataclass(slots=True)
class _Table:
    """An open file with known columns; `rows` is at the first row of data."""

    names: list[str]
    has_header: bool
    features: list[int]
    target: int | None
    rows: Iterator[_Numbered]


def open_table(path: str, errors: str = "strict") -> TextIO:
    """Open a CSV file as text, or raise as `gpunn.storage.reading.open_file` does.

    One that is compressed with gzip is decompressed, up to the limits of `gpunn.data.limits`.
    """
    binary = open_file(path, DataFileError)
    compressed = binary.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    binary.seek(0)
    stream = Decompressed(path, binary) if compressed else binary
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors=errors, newline="")


class Decompressed(gzip.GzipFile):
    """What a file compressed with gzip holds; a DataFileError if it is damaged or too much."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        super().__init__(fileobj=file)
        self._path, self._file = path, file
        self._compressed, self._expanded = os.fstat(file.fileno()).st_size, 0

    def read1(self, size: int = -1) -> bytes:
        try:
            chunk = super().read1(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataFileError(
                f"{self._path}: the gzip stream is damaged ({error}); get the file again"
            ) from error
        self._expanded += len(chunk)
        check_expansion(self._path, self._compressed, self._expanded)
        return chunk

    def close(self) -> None:
        super().close()
        self._file.close()


class BoundedLines:
    """The lines of a file for `csv.reader`, which itself does not limit the length of a row.

    Raises a DataFileError where a row has more than `LONGEST_LINE` characters.
    """

    def __init__(self, path: str | os.PathLike[str], file: TextIO) -> None:
        self.path = path
        self._read = file.readline
        self._left = LONGEST_LINE

    def begin_row(self) -> None:
        """Start to count the characters of the next row."""
        self._left = LONGEST_LINE

    def __iter__(self) -> BoundedLines:
        return self

    def __next__(self) -> str:
        line = self._read(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise DataFileError(
                f"{self.path}: not a CSV file, or damaged: a row of more than "
                f"{LONGEST_LINE:,} characters"
            )
        if not line:
            raise StopIteration
        return line


def numbered_rows(path: str, file: TextIO, delimiter: str) -> Iterator[_Numbered]:
    """Yield the rows that are not empty, all of one length, with the numbers of their last lines.

    Raises
    ------
    DataFileError
        If a row has another length than the first, or the text is not UTF-8 or wrongly quoted.
    """
    lines = BoundedLines(path, file)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != " ", strict=True)
    width = last = 0
    try:
        for row in reader:
            lines.begin_row()
            last = reader.line_num
            if not row or (len(row) == 1 and width != 1 and not row[0].strip()):
                continue
            width = width or len(row)
            if len(row) != width:
                raise DataFileError(
                    f"{path}, line {reader.line_num}: expected {cells_text(width)}, as in the "
                    f"first row, got {len(row)}; {doubt_of_width(width, delimiter)}"
                )
            yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise DataFileError(undecodable(path)) from error
    except csv.Error as error:
        raise DataFileError(f"{path}, {quoting(error, last, reader.line_num)}") from error


def quoting(error: csv.Error, last: int, line: int) -> str:
    """Return where quotation marks are wrong, and what to do; `last` is the last row's line."""
    if "end of data" in str(error):
        return (
            f"line {last + 1}: in the row that begins here a quotation mark opens a cell and none "
            "closes it; close it, or double it if it is part of the text"
        )
    if "expected after" in str(error):
        return (
            f"line {line}: text follows a quotation mark that closes a cell ({error}); double "
            "quotation marks that are part of the text"
        )
    return f"line {line}: {error}"


def cells_text(width: int) -> str:
    """Return "1 cell" or "2 cells"."""
    return f"{width} cell" if width == 1 else f"{width} cells"


def doubt_of_width(width: int, delimiter: str) -> str:
    """Return what may be wrong with a file in which the first row has another width than others."""
    if width == 1:
        return "if there is a title above the columns' names, remove it"
    return f"is {delimiter!r} the right delimiter?"


def undecodable(path: str) -> str:
    """Return the message that a file is not in UTF-8, which it isn't: where, and what to do."""
    expected, advice = "expected text in UTF-8", 'save the file as UTF-8 ("CSV UTF-8")'
    number = 0
    with open_table(path) as file:
        while line := file.buffer.readline(LONGEST_LINE):
            number += 1
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return f"{path}: {expected}, got UTF-16; {advice}"
            if number == 1 and line.startswith(ZIP_MAGIC):
                return (
                    f"{path}: expected text, got a ZIP archive, as XLSX files are; save it as CSV"
                )
            try:
                line.decode()
            except UnicodeDecodeError as error:
                before = line[: error.start].decode()[-20:]
                return (
                    f"{path}, line {number}: {expected}, got byte 0x{line[error.start]:02x} after "
                    f"{before!r}; {advice}"
                )
    return f"{path}: {expected}; {advice}"


def _open_table(
    path: str,
    rows: Iterator[_Numbered],
    target: str | int | None,
    features: Sequence[str | int] | None,
    header: bool | Literal["auto"],
    parser: _Parser,
) -> _Table:
    first = list(islice(rows, 2))
    if not first:
        raise DataFileError(f"{path}: the file is empty")
    top = [cell.strip() for cell in first[0][1]]
    if header == "auto":
        by_name = any(isinstance(column, str) for column in (target, *(features or ())))
        second = first[1][1] if len(first) == 2 else None
        header = by_name or parser.looks_like_header(top, second)
    if header:
        del first[0]
        names = top
        repeated = _repeated(names)
        if repeated:
            raise DataFileError(f"{path}: the header names more than one column {repeated[0]!r}")
        if not first:
            raise DataFileError(f"{path}: there are no rows below the header")
    else:
        names = [str(number) for number in range(len(top))]

    find = _column_finder(path, names if header else None, len(names))
    target_column = None if target is None else find("target", target)
    if features is None:
        columns = [column for column in range(len(names)) if column != target_column]
    else:
        columns = [find("features", column) for column in features]
        repeated = [names[column] for column in _repeated(columns)]
        if repeated:
            raise ArgumentError(f"features: column {repeated[0]!r} is given more than once")
        if target_column in columns:
            raise ArgumentError(f"features: column {names[target_column]!r} is the target")
    if not columns:
        raise DataFileError(
            f"{path}: no column is left for the features; columns: {names}{_doubt(len(names))}"
        )
    return _Table(names, bool(header), columns, target_column, chain(first, rows))


def _repeated(items: Sequence[_Item]) -> list[_Item]:
    """Return the items that occur more than once."""
    return sorted(item for item, count in Counter(items).items() if count > 1)


def _doubt(width: int) -> str:
    """Return a hint at the delimiter for a file with a single column, else an empty text."""
    return "; there is a single column: is the delimiter right?" if width == 1 else ""


def _column_finder(
    path: str, header: list[str] | None, width: int
) -> Callable[[str, str | int], int]:
    def find(argument: str, column: str | int) -> int:
        if isinstance(column, str):
            if header is None:
                raise ArgumentError(
                    f"{argument}: expected a column's number, since header=False, got {column!r}"
                )
            if column not in header:
                raise DataFileError(
                    f"{argument}: {path} has no column {column!r}: {suggest(column, header)}"
                    f"{_doubt(width)}"
                )
            return header.index(column)
        try:
            number = operator.index(column)
        except TypeError:
            number = None
        if number is None or isinstance(column, bool):
            raise ArgumentTypeError(
                f"{argument}: expected a column's name or number, got {column!r}"
            )
        if not -width <= number < width:
            raise DataFileError(
                f"{argument}: {path} has {width} columns, numbered from 0, got {number}"
            )
        return number % width

    return find


def _read(
    table: _Table, target_type: type[_NumericTarget] | type[_TextTarget], parser: _Parser
) -> CSVData:
    target_name = None if table.target is None else table.names[table.target]
    y = None if target_name is None else target_type(target_name, parser)
    # Grows in place; joining a list of blocks would need twice the memory.
    values = bytearray()
    block_rows = max(1, _BLOCK_CELLS // len(table.names))
    while block := list(islice(table.rows, block_rows)):
        values += _feature_block(table, block, parser).data
        if y is not None and table.target is not None:
            y.add([line for line, _ in block], [row[table.target] for _, row in block])
    parser.refuse_missing()
    targets, classes = (None, None) if y is None else y.finish()
    return CSVData(
        X=np.frombuffer(values, parser.dtype).reshape(-1, len(table.features)),
        y=targets,
        feature_names=tuple(table.names[column] for column in table.features),
        target_name=target_name,
        classes=classes,
        has_header=table.has_header,
    )


def _feature_block(table: _Table, block: list[_Numbered], parser: _Parser) -> np.ndarray:
    values = parser.floats([row[column] for _, row in block for column in table.features])
    if values is not None:
        return values
    for line, row in block:
        for column in table.features:
            if parser.is_text(line, table.names[column], row[column]):
                raise DataFileError(
                    f"{parser.path}, line {line}: column {table.names[column]!r} is a feature and "
                    f"must hold numbers, got {row[column]!r}; leave the column out with `features` "
                    "or encode it as numbers"
                )
    return np.empty(0, parser.dtype)


class _Parser:
    """Converts cells to numbers, counts missing values and locates cells that are not numbers."""

    def __init__(self, path: str, dtype: np.dtype, markers: frozenset[str]) -> None:
        self.path = path
        self.dtype = dtype
        self._markers = markers
        numbers = [number_of(marker) for marker in markers]
        self._missing_numbers = [number for number in numbers if number is not None]
        self._missing = 0
        self._places: list[str] = []

    def floats(self, cells: Sequence[str]) -> np.ndarray | None:
        """Convert all cells, or return None if one is not a finite number."""
        if "_" in "".join(cells):  # Python reads 1_000 as a number, CSV files do not
            return None
        try:
            numbers = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            return None
        if np.isin(numbers, self._missing_numbers).any():
            return None
        with np.errstate(over="ignore"):
            values = numbers.astype(self.dtype)
        return values if np.isfinite(values).all() else None

    def is_missing(self, line: int, name: str, cell: str) -> bool:
        """Return whether a cell is a missing value, and count it if so."""
        number = number_of(cell)
        if number is None:
            missing = cell.strip().casefold() in self._markers
        else:
            missing = math.isnan(number) or number in self._missing_numbers
        if missing:
            self._missing += 1
            if len(self._places) < _PLACES_SHOWN:
                self._places.append(f"line {line} column {name!r}")
        return missing

    def is_text(self, line: int, name: str, cell: str) -> bool:
        """Return whether a cell is text. Counts a missing value, and raises for an infinite one."""
        if self.is_missing(line, name, cell):
            return False
        number = number_of(cell)
        if number is not None and self.floats([cell]) is None:
            raise DataFileError(
                f"{self.path}, line {line}: column {name!r} must hold finite numbers of type "
                f"{self.dtype}, got {cell!r}"
            )
        return number is None

    def refuse_missing(self) -> None:
        """Raise a DataFileError that lists the missing values, if there are any."""
        if self._missing:
            more = ", ..." if self._missing > len(self._places) else ""
            raise DataFileError(
                f"{self.path}: {self._missing} missing values: {', '.join(self._places)}{more}; "
                "fill them in, or remove those rows or columns"
            )

    def looks_like_header(self, top: _Row, second: _Row | None) -> bool:
        """Return whether the first row has text above a number, or is the only row and all text."""
        if second is None:
            return all(number_of(text) is None for text in top)
        return any(
            number_of(text) is None
            and text.casefold() not in self._markers
            and number_of(cell) is not None
            for text, cell in zip(top, second, strict=True)
        )


class _TextTargetError(Exception):
    """The target column has a cell that is not a number."""


class _NumericTarget:
    """Collects a target of integers or floats; raises `_TextTargetError` for anything else."""

    def __init__(self, name: str, parser: _Parser) -> None:
        self._name = name
        self._parser = parser
        self._blocks: list[np.ndarray] = []

    def add(self, lines: Sequence[int], cells: Sequence[str]) -> None:
        values = self._parser.floats(cells)
        if values is not None:
            integers = _integers(cells)
            self._blocks.append(values if integers is None else integers)
            return
        for line, cell in zip(lines, cells, strict=True):
            if self._parser.is_text(line, self._name, cell):
                raise _TextTargetError

    def finish(self) -> tuple[np.ndarray, None]:
        all_integers = all(block.dtype == np.int64 for block in self._blocks)
        dtype = np.dtype(np.int64) if all_integers else self._parser.dtype
        return np.concatenate([block.astype(dtype, copy=False) for block in self._blocks]), None


def _integers(cells: Sequence[str]) -> np.ndarray | None:
    """Convert all cells, or return None if one is not an integer of 64 bits."""
    try:
        return np.fromiter(map(int, cells), np.int64, len(cells))
    except (ValueError, OverflowError):
        return None


class _TextTarget:
    """Collects a target of class names."""

    def __init__(self, name: str, parser: _Parser) -> None:
        self._name = name
        self._parser = parser
        self._codes = array("q")
        self._code_of: dict[str, int] = {}

    def add(self, lines: Sequence[int], cells: Sequence[str]) -> None:
        for line, cell in zip(lines, cells, strict=True):
            text = text_of_cell(cell.strip())
            code = self._code_of.get(text)
            if code is None:
                if len(text) > LONGEST_NAME:
                    raise DataFileError(
                        f"{self._parser.path}, line {line}: column {self._name!r} is the target, "
                        f"and names of classes have at most {LONGEST_NAME} characters; got "
                        f"{len(text)}. Is it the right column?"
                    )
                if self._parser.is_missing(line, self._name, text):
                    continue
                code = self._code_of[text] = len(self._code_of)
            self._codes.append(code)

    def finish(self) -> tuple[np.ndarray, tuple[str, ...]]:
        # Codes are in order of appearance; map them to indices in the sorted list.
        classes = sorted(self._code_of)
        place = np.empty(len(classes), np.int64)
        place[[self._code_of[name] for name in classes]] = np.arange(len(classes))
        return place[np.frombuffer(self._codes, np.int64)], tuple(classes)
