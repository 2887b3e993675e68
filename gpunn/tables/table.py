"""A table of raw cells in named columns, from any library."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from gpunn.errors import DataError, suggest


@dataclass(frozen=True, eq=False, slots=True)
class Coded:
    """Cell i is values[codes[i]], or missing if codes[i] is -1. Each value occurs in some cell."""

    codes: np.ndarray
    values: list[Any]
    categorical: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, entries: np.ndarray, missing: Any) -> np.ndarray:
        table = np.empty(len(entries) + 1, entries.dtype)
        table[:-1], table[-1] = entries, missing
        taken: np.ndarray = table[self.codes]
        return taken

    def first_row(self, value: int) -> int:
        return int((self.codes == value).argmax())

    def compact(self) -> Coded:
        used = np.bincount(self.codes[self.codes >= 0], minlength=len(self.values)) > 0
        if used.all():
            return self
        positions = np.full(len(self.values) + 1, -1)  # the last entry maps the code -1
        chosen = np.flatnonzero(used)
        positions[chosen] = np.arange(len(chosen))
        values = [self.values[position] for position in chosen]
        return replace(self, codes=positions[self.codes], values=values)


Cells: TypeAlias = "np.ndarray | Coded"
"""The cells of a column: an array of Booleans, integers, floats (NaN is missing) or `datetime64`
(NaT is missing). Other cells are in dictionary encoding."""


class Table:
    """Named columns of equal length; a column is read when it is first used.

    Parameters
    ----------
    names : sequence of str
        Names of the columns, distinct and nonempty.
    rows : int
        Number of rows.
    read : function
        A function that accepts a column's position, and returns the column's cells.
    named : bool
        Whether the data has column names. Without names, the columns are numbered from 0.
    numbers : ndarray of int or None
        The number that messages use for each row. None means that rows are counted from 0.
    unit : {"row", "line"}
        Unit of `numbers`; "line" means the line of a file in which a row ends.
    title : str
        Name of the table in messages: "X", or a file's path.
    doubts : mapping of str to str or None
        For some columns, a warning that cells may have been read wrongly.

    Raises
    ------
    DataError
        If a name is empty or occurs twice.

    See Also
    --------
    read_table : Reads a table from a file.
    table_of : Converts a data frame or an array.

    Examples
    --------
    >>> table = gpunn.tables.table_of({"age": [31, 45], "city": ["Oslo", "Rome"]})
    >>> len(table), "age" in table, table.column("age").tolist()
    (2, True, [31, 45])
    """

    def __init__(
        self,
        names: Sequence[str],
        rows: int,
        read: Callable[[int], Cells],
        *,
        named: bool = True,
        numbers: np.ndarray | None = None,
        unit: str = "row",
        title: str = "X",
        doubts: Mapping[str, str] | None = None,
    ) -> None:
        self.names, self.rows, self.named = tuple(names), rows, named
        self.numbers, self.unit, self.title = numbers, unit, title
        self.doubts = dict(doubts or {})
        self._read = read
        self._columns: dict[str, Cells] = {}
        check_column_names(names, title)
        self._positions = {name: position for position, name in enumerate(names)}

    def __len__(self) -> int:
        return self.rows

    def __contains__(self, name: str) -> bool:
        return name in self._positions

    def column(self, name: str) -> Cells:
        """Return the cells of a column.

        Parameters
        ----------
        name : str
            Name of the column.

        Returns
        -------
        ndarray or Coded
            An array of Booleans, integers, floats (NaN is missing) or `datetime64` (NaT is
            missing); other cells are in dictionary encoding.

        Raises
        ------
        DataError
            If there is no such column, or the column contains cells other than numbers, text and
            dates.
        """
        if name not in self._columns:
            if name not in self._positions:
                raise DataError(
                    f"{self.title}: there is no column {name!r}; {suggest(name, self.names)}"
                )
            cells = self._read(self._positions[name])
            if len(cells) != self.rows:
                raise DataError(
                    f"{self.title}: column {name!r} has {len(cells)} rows; expected {self.rows}"
                )
            self._columns[name] = cells
        return self._columns[name]

    def place(self, name: str, row: int) -> str:
        """Return the location of a cell, for a message.

        Parameters
        ----------
        name : str
            The column.
        row : int
            The row, counted from 0.

        Returns
        -------
        str
            The location, such as "people.csv: line 3, column 'age'".
        """
        return f"{self.title}: {row_name(self, row)}, column {name!r}"

    def take(self, rows: np.ndarray) -> Table:
        """Return a table of some rows. In messages, the rows keep their current numbers.

        Parameters
        ----------
        rows : ndarray of int
            Numbers of the rows, counted from 0.

        Returns
        -------
        Table
            The new table, which reads its columns from this table.

        Examples
        --------
        >>> from gpunn.tables import table_of
        >>> table_of({"age": [31, 45, 28]}).take([2, 0]).column("age").tolist()
        [28, 31]
        """
        rows = np.asarray(rows, dtype=np.int64)
        numbers = rows if self.numbers is None else self.numbers[rows]

        def read(position: int) -> Cells:
            cells = self.column(self.names[position])
            if isinstance(cells, Coded):
                return replace(cells, codes=cells.codes[rows]).compact()
            taken: np.ndarray = cells[rows]
            return taken

        return Table(
            self.names,
            len(rows),
            read,
            named=self.named,
            numbers=numbers,
            unit=self.unit,
            title=self.title,
            doubts=self.doubts,
        )

    def with_cells(self, name: str, cells: Cells, doubt: str = "") -> Table:
        """Return a table with other cells in a column.

        Parameters
        ----------
        name : str
            The column.
        cells : ndarray or Coded
            The new cells.
        doubt : str
            A warning that the cells may have been read wrongly.

        Returns
        -------
        Table
            The new table.
        """
        table = copy.copy(self)
        table._columns = self._columns | {name: cells}
        table.doubts = self.doubts | ({name: doubt} if doubt else {})
        return table

    def content(self) -> bytes:
        """Return bytes for a checksum; tables that differ in names or cells have different bytes.

        Returns
        -------
        bytes
            Names and cells of all columns.
        """
        content = bytearray()
        for name in self.names:
            cells = self.column(name)
            if isinstance(cells, Coded):
                texts = np.array([*map(repr, cells.values), ""], object)[cells.codes]
                content += "\0".join([name, *texts.tolist()]).encode("utf-8", "backslashreplace")
            else:
                content += name.encode() + np.ascontiguousarray(cells).tobytes()
        return bytes(content)


def row_name(table: Table, row: int) -> str:
    return f"{table.unit} {row if table.numbers is None else table.numbers[row]}"


def check_column_names(names: Sequence[str], title: str) -> None:
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        if not name.strip():
            raise DataError(f"{title}: column {position}, counted from 0, has no name; add a name")
        if name in positions:
            raise DataError(
                f"{title}: columns {positions[name]} and {position}, counted from 0, are both "
                f"called {name!r:.80}; rename one of them"
            )
        positions[name] = position


def dictionary_encoded(cells: Sequence[Any], location: Callable[[int], str]) -> Coded:
    try:
        codes: dict[Any, int] = dict.fromkeys(cells, -1)
    except TypeError:
        row, cell = next(each for each in enumerate(cells) if not is_hashable(each[1]))
        raise DataError(
            f"{location(row)}: expected a number, text, a date or nothing; got a "
            f"{type(cell).__name__}: {cell!r:.80}"
        ) from None
    values = [value for value in codes if not is_missing(value)]
    codes.update(zip(values, range(len(values)), strict=True))
    return Coded(np.fromiter(map(codes.__getitem__, cells), np.int32, len(cells)), values)


def is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def is_missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ArithmeticError):  # pandas' NA is neither equal to itself nor unequal
        return True
