"""Loader for CSV files: the features are numbers, and the target is classes or numbers."""

from __future__ import annotations

import operator
import os
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal, cast

import numpy as np

from gpunn.configurable import check_strings
from gpunn.data.text_rows import numbers_of, open_rows
from gpunn.errors import ArgumentError, ArgumentTypeError, DataFileError, suggest
from gpunn.rows.cells import MISSING_NUMBERS, Markers, number_of
from gpunn.rows.csv_rows import (
    Row,
    columns_of,
    is_header_above,
    refused,
    wrong_delimiter,
)
from gpunn.rows.lines import RowsError
from gpunn.rows.predictions import text_of_cell
from gpunn.storage.reading import checked_path

_BLOCK_CELLS = 2**12  # so many cells fit into the cache; larger blocks took 50 % longer
_LOCATIONS_SHOWN = 5

MAX_NAME = 256
"""Maximum characters of a class name; NumPy stores every name with the longest name's length."""


@dataclass(frozen=True, eq=False, slots=True)
class CSVData:
    r"""The content of a CSV file.

    Parameters
    ----------
    X : float array of shape (rows, features)
        The features, in the order of `feature_names`.
    y : array of shape (rows,) or None
        The target. If the target is text, `y` has class indices (int64), and `classes[index]` is
        the text. If every cell is an integer, the dtype is int64; other numbers are floats. Without
        a target, `y` is None.
    feature_names : tuple of str
        The names of the feature columns; without a header, their numbers, counted from 0.
    target_name : str or None
        Name of the target column.
    classes : tuple of str or None
        The sorted class names of a text target, or None for other targets.
    has_header : bool
        Whether the column names come from the file's first row.

    Examples
    --------
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

    Empty lines and spaces around cells are ignored. Quoting follows Python's `csv` module. A class
    name such as `'=1+1` loses the apostrophe that keeps spreadsheets from running the name as a
    formula.

    Parameters
    ----------
    path : path-like
        File to read.
    target : str, int or None
        Name or number of the column to predict. Numbers count from 0, and negative numbers count
        from the end: -1 is the last column. None means that there is no target.
    header : bool or "auto"
        Whether the first row has the column names. The value "auto" means True in two cases:
        `target` or one of `features` is a name, or a cell of the first row is text and the cell
        below is a number. If all column names are numbers, set `header` to True.
    delimiter : str
        The character between cells.
    features : sequence of str and int, optional
        Names or numbers of the columns that become features, in this order. By default, all columns
        except the target.
    dtype : "float32" or "float64"
        Dtype of the features and of a floating-point target.
    missing : collection of str
        Strings that mean a missing value, besides NaN, in upper or lower case. If one of these
        strings is a number, such as -999, other spellings such as -999.0 match too.

    Returns
    -------
    CSVData
        Features, target and their names.

    Raises
    ------
    DataFileError
        If a value is missing, or a feature is not a finite number of the given dtype. If a row has
        too few or too many cells, or more than 16 MiB, or if a class name has more than 256
        characters. If a column occurs twice in the header, or does not exist. If the file is empty,
        not in UTF-8, wrongly quoted or not a regular file. The message names lines and columns.
    ArgumentError
        If an argument is invalid.
    ArgumentTypeError
        If a column is neither a name nor a number.
    OSError
        If the file can't be opened.

    See Also
    --------
    gpunn.tables.read_table : Reads columns with numbers, text, dates and missing values.

    Examples
    --------
    >>> from pathlib import Path
    >>> written = Path("flowers.csv").write_text("width,kind\n1.5,rose\n0.5,daisy\n")
    >>> data = gpunn.data.load_csv("flowers.csv", target="kind")
    >>> data.X.tolist(), data.y.tolist()
    ([[1.5], [0.5]], [1, 0])
    """
    path = checked_path(path)
    if header not in (True, False, "auto"):
        raise ArgumentError(f'header: expected True, False or "auto", got {header!r}')
    if problem := wrong_delimiter(delimiter):
        raise ArgumentError(f"delimiter: {problem}")
    if dtype not in (np.float32, np.float64, "float32", "float64"):
        raise ArgumentError(f'dtype: expected "float32" or "float64", got {dtype!r}')
    if isinstance(features, str):
        raise ArgumentTypeError(f"features: expected a list, got the string {features!r}")
    missing = check_strings("missing", missing)

    # The target is read as numbers until a cell is text, nearly always in the first block. Numbers
    # lose their spelling ("007" reads as 7), so the file is then read again as text.
    def read(target_is_text: bool) -> CSVData | None:
        with open_rows(path, delimiter) as (_, rows):
            reader = _Reader(path, rows, np.dtype(dtype), Markers.of(missing, always=()))
            reader.choose_columns(target, features, header)
            return reader.read(target_is_text)

    return read(False) or cast(CSVData, read(True))


class _Reader:
    def __init__(self, path: str, rows: Iterator[Row], dtype: np.dtype, markers: Markers) -> None:
        self._path, self._rows, self._dtype, self._markers = path, rows, dtype, markers
        self._names: list[str] = []
        self._has_header = False
        self._features: list[int] = []
        self._target: int | None = None
        self._classes: dict[str, int] = {}
        self._missing = 0
        self._locations: list[str] = []

    def choose_columns(
        self,
        target: str | int | None,
        features: Sequence[str | int] | None,
        header: bool | Literal["auto"],
    ) -> None:
        first = list(islice(self._rows, 2))
        if not first:
            raise RowsError("the file is empty")
        top, *below = ([cell.strip() for cell in row] for _, row in first)
        if header == "auto":
            by_name = any(isinstance(column, str) for column in (target, *(features or ())))
            header = by_name or is_header_above(top, below[0] if below else None, self._markers)
        # A name may be ""; older networks store such names.
        names = self._names = top if header else columns_of(top, header)
        self._has_header = header
        if header:
            if repeated := _repeated(names):
                raise RowsError(f"the header has more than one column {repeated[0]!r}")
            if not below:
                raise RowsError("there are no rows below the header")
            del first[0]
        self._rows = chain(first, self._rows)

        self._target = None if target is None else self._position_of("target", target)
        indices = [index for index in range(len(names)) if index != self._target]
        if features is not None:
            indices = [self._position_of("features", column) for column in features]
            if repeated := _repeated([names[index] for index in indices]):
                raise ArgumentError(f"features: column {repeated[0]!r} is listed more than once")
            if self._target in indices:
                raise ArgumentError(
                    f"features: column {names[self._target]!r} is the target; remove it from "
                    "'features'"
                )
        if not indices:
            raise RowsError(f"no column is left for the features; columns: {names}{_doubt(names)}")
        self._features = indices

    def _position_of(self, argument: str, column: str | int) -> int:
        names, width = self._names, len(self._names)
        if isinstance(column, str):
            if not self._has_header:
                raise ArgumentError(
                    f"{argument}: expected a column's number, since header=False, got {column!r}"
                )
            if column not in names:
                raise DataFileError(
                    f"{argument}: {self._path} has no column {column!r}: {suggest(column, names)}"
                    f"{_doubt(names)}"
                )
            return names.index(column)
        try:
            number = None if isinstance(column, bool) else operator.index(column)
        except TypeError:
            number = None
        if number is None:
            raise ArgumentTypeError(
                f"{argument}: expected a column's name or number, got {column!r}"
            )
        if not -width <= number < width:
            raise DataFileError(
                f"{argument}: {self._path} has {width} columns, numbered from 0; got {number}"
            )
        return number % width

    def read(self, target_is_text: bool) -> CSVData | None:
        # Returns None if the target was expected to be numbers, but has text.
        # A bytearray grows in place; joining a list of blocks would need twice the memory.
        X = bytearray()
        y: list[np.ndarray] = []
        while block := list(islice(self._rows, max(1, _BLOCK_CELLS // len(self._names)))):
            values = self._floats([row[index] for _, row in block for index in self._features])
            if values is not None:
                X += values.data
            elif text := self._first_text(block, self._features):
                line, name, cell = text
                refused(
                    line,
                    f"column {name!r} is a feature and must hold numbers, got {cell!r}; leave the "
                    "column out with `features` or encode it as numbers",
                )
            if self._target is None:
                continue
            cells = [row[self._target] for _, row in block]
            if target_is_text:
                y.append(self._codes(block, self._target))
            elif (values := self._floats(cells)) is not None:
                y.append(values if (integers := _integers(cells)) is None else integers)
            elif self._first_text(block, [self._target]):
                return None
        self._refuse_missing()
        if not all(values.dtype == np.int64 for values in y):
            y = [values.astype(self._dtype, copy=False) for values in y]
        targets = np.concatenate(y) if y else None
        classes = sorted(self._classes)
        if target_is_text:  # until here, codes are in the order of appearance
            rank = {name: number for number, name in enumerate(classes)}
            targets = np.array([rank[name] for name in self._classes])[targets]
        return CSVData(
            X=np.frombuffer(X, self._dtype).reshape(-1, len(self._features)),
            y=targets,
            feature_names=tuple(self._names[index] for index in self._features),
            target_name=None if self._target is None else self._names[self._target],
            classes=tuple(classes) if target_is_text else None,
            has_header=self._has_header,
        )

    def _floats(self, cells: Sequence[str]) -> np.ndarray | None:
        numbers = numbers_of(cells)
        if numbers is None or np.isin(numbers, self._markers.numbers).any():
            return None
        with np.errstate(over="ignore"):
            values = numbers.astype(self._dtype)
        return values if np.isfinite(values).all() else None

    def _first_text(self, block: list[Row], indices: Sequence[int]) -> tuple[int, str, str] | None:
        for line, row in block:
            for name, cell in ((self._names[index], row[index]) for index in indices):
                if self._is_missing(line, name, cell):
                    continue
                if number_of(cell) is None:
                    return line, name, cell
                if self._floats([cell]) is None:
                    wanted = f"finite numbers of type {self._dtype}"
                    refused(line, f"column {name!r} must hold {wanted}, got {cell!r}")
        return None

    def _codes(self, block: list[Row], index: int) -> np.ndarray:
        name, codes = self._names[index], array("q")
        for line, row in block:
            text = text_of_cell(row[index].strip())
            code = self._classes.get(text)
            if code is None:
                if len(text) > MAX_NAME:
                    refused(
                        line,
                        f"column {name!r}: expected a class name of at most {MAX_NAME} characters "
                        f"in the target; got {len(text)}. Check that this is the target column",
                    )
                if self._is_missing(line, name, text):
                    continue
                code = self._classes[text] = len(self._classes)
            codes.append(code)
        return np.frombuffer(codes, np.int64)

    def _is_missing(self, line: int, name: str, cell: str) -> bool:
        missing = self._markers.is_missing_number(cell.strip())
        if missing:
            self._missing += 1
            if len(self._locations) < _LOCATIONS_SHOWN:
                self._locations.append(f"line {line} column {name!r}")
        return missing

    def _refuse_missing(self) -> None:
        if self._missing:
            values = "value" if self._missing == 1 else "values"
            more = ", ..." if self._missing > len(self._locations) else ""
            raise RowsError(
                f"{self._missing} missing {values}: {', '.join(self._locations)}{more}; fill in "
                "each value, or remove its row or column"
            )


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _doubt(names: Sequence[str]) -> str:
    return "; there is a single column: is the delimiter right?" if len(names) == 1 else ""


def _integers(cells: Sequence[str]) -> np.ndarray | None:
    try:
        return np.fromiter(map(int, cells), np.int64, len(cells))
    except (ValueError, OverflowError):
        return None
