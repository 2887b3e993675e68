"""What a kind of column is: how one is learned, and its encoders side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from gpunn.errors import DataError
from gpunn.rows.cells import Markers
from gpunn.tables.c_source import CSource
from gpunn.tables.cells import coded
from gpunn.tables.columns import Column, Kind
from gpunn.tables.findings import Findings
from gpunn.tables.layout import Place
from gpunn.tables.nodes import Value
from gpunn.tables.scaling import Scaling
from gpunn.tables.table import Cells, Table

__all__ = ["ColumnKind", "Encoding", "GraphRows", "Learned", "Rows", "wrong_cell"]


@dataclass(frozen=True, eq=False)
class Rows:
    """A column that is to be learned.

    Attributes
    ----------
    table, name : Table, str
        The training rows, and the column's name there.
    markers : Markers
        Cells that mean a missing value.
    every : Table
        All rows that there are: whether a column is of numbers, or is an identifier, must not
        depend on which of them are drawn for training.
    chosen : bool
        Whether the user has said of which kind it is.
    """

    table: Table
    name: str
    markers: Markers
    every: Table
    chosen: bool


@dataclass(frozen=True, eq=False)
class Learned:
    """A column, and its numbers that are to be scaled, by what they are: those of present cells."""

    column: Column
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Encoding:
    """A column of a table, and where in the matrix its encoder writes.

    Attributes
    ----------
    places : mapping of Place to int
        Columns of the matrix by what stands there.
    """

    column: Column
    table: Table
    markers: Markers
    matrix: np.ndarray
    places: Mapping[Place, int]
    scaling: Scaling
    findings: Findings

    def write(self, what: str, numbers: np.ndarray) -> None:
        """Set a column of the matrix."""
        self.matrix[:, self.places[Place(self.column.name, what)]] = numbers

    def write_scaled(self, part: str, numbers: np.ndarray, missing: np.ndarray) -> None:
        """Set a column of the matrix to numbers on their scale, the median where one is missing."""
        place = self.places[Place(self.column.name, part)]
        numbers[missing] = self.scaling.median[place]
        self.matrix[:, place] = self.scaling.transform(numbers, place)
        finite = np.isfinite(self.matrix[:, place])
        if not finite.all():
            row = int(finite.argmin())
            raise DataError(
                f"{self.table.place(self.column.name, row)}: {numbers[row]} is too large for "
                f"{self.matrix.dtype}; scale the column, or choose the scaling 'robust'"
            )


@dataclass(frozen=True, eq=False)
class GraphRows:
    """Rows of a table in an ONNX graph, and what has been made of them.

    Attributes
    ----------
    inputs : mapping of str to Value
        The column of each name, shape (rows, 1).
    places : mapping of Place to int
        As in `Encoding`.
    blocks : list of (list of int, Value)
        Neighboring columns, and where in the matrix they belong.
    fits : list of Value
        Whether cells are missing, or not too large.
    """

    inputs: Mapping[str, Value]
    markers: Markers
    scaling: Scaling
    places: Mapping[Place, int]
    blocks: list[tuple[list[int], Value]] = field(default_factory=list)
    fits: list[Value] = field(default_factory=list)

    def add(self, places: Sequence[Place], columns: Value) -> None:
        """Add what is made of columns."""
        self.blocks.append(([self.places[place] for place in places], columns))


class ColumnKind(ABC):
    """A kind of column. All its encoders make the same numbers of a cell.

    Attributes
    ----------
    name : str
    field : str
        The type in C of a column in a row; "{prefix}" is that of all names.
    """

    name: ClassVar[Kind]
    field: ClassVar[str]

    @abstractmethod
    def takes(self, cells: Cells, markers: Markers) -> bool:
        """Return whether a column of such cells is of this kind, unless it is of one before it."""

    @abstractmethod
    def learn(self, rows: Rows) -> Learned:
        """Return what the training rows tell of a column.

        Raises
        ------
        DataError
            If a cell is not of this kind, or infinite; the message says where.
        """

    @abstractmethod
    def places(self, column: Column) -> list[Place]:
        """Return what is made of a column that is not dropped."""

    @abstractmethod
    def becomes(self, column: Column) -> str:
        """Return what is made of a column, in words."""

    @abstractmethod
    def encode(self, rows: Encoding) -> None:
        """Write a column to the matrix."""

    @abstractmethod
    def described(
        self, column: Column, place: Callable[[str], int], scale: Callable[[str], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return what `cell` and `c` have to know, in JSON types.

        `place` and `scale` take what is made of the column.
        """

    @staticmethod
    @abstractmethod
    def cell(
        column: dict[str, Any], cell: str, row: list[float], scaled: Callable[..., float]
    ) -> None:
        """Set the numbers of a cell in a row, in plain Python: the text is copied to exports.

        The column is `described`. The cell is empty if it is missing.
        """

    @abstractmethod
    def nodes(self, columns: Sequence[Column], rows: GraphRows) -> None:
        """Add what all columns of the kind become in an ONNX graph."""

    @abstractmethod
    def c(
        self,
        described: Mapping[str, Any],
        cell: str,
        scaling: type[Scaling],
        markers: Iterable[str],
        source: CSource,
    ) -> str:
        """Return the lines in C that encode a cell."""


def wrong_cell(
    table: Table, name: str, cells: Cells, others: Sequence[int], expected: str
) -> DataError:
    """Return the error for the first cell that is not of a column's kind."""
    cells = coded(cells)
    rows = np.isin(cells.codes, others)
    row = int(rows.argmax())
    more = int(rows.sum()) - 1
    further = f", and so {'is' if more == 1 else 'are'} {more:,} more" if more else ""
    value = cells.values[cells.codes[row]]
    return DataError(
        f"{table.place(name, row)}: expected {expected}; got {value!r:.80}{further}. Correct it, "
        "leave the cell empty, or make the column a category"
    )
