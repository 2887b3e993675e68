"""What a kind of column is: how one is learned, and its encoders side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from gpunn.errors import DataError
from gpunn.meaning import plural
from gpunn.rows.cells import Markers
from gpunn.tables.cells import coded
from gpunn.tables.columns import Column, Kind
from gpunn.tables.features import Feature
from gpunn.tables.onnx_nodes import Value
from gpunn.tables.table import Cells, Table
from gpunn.tables.unseen_values import UnseenValues

__all__ = [
    "CSource",
    "ColumnEncoder",
    "Encoded",
    "GraphRows",
    "Rows",
    "check_complete",
    "wrong_cell",
]


@dataclass(frozen=True, eq=False)
class Rows:
    """A column that is to be learned from a table of training rows.

    `every` is a table of all rows that there are: whether a column is of numbers, or is an
    identifier, must not depend on which of them are drawn for training. `chosen` tells whether the
    user has said of which kind it is.
    """

    table: Table
    name: str
    markers: Markers
    every: Table
    chosen: bool


class Encoded(NamedTuple):
    """What becomes of cells: an array for one place, or a `Value` with a column for each.

    Numbers that get a scale come with where they are missing, and the median stands in.
    """

    features: list[Feature]
    numbers: Any
    missing: Any = None


class GraphRows(NamedTuple):
    """Rows in an ONNX graph: columns of shape (rows, 1), and what means a missing value.

    To `fits` kinds add whether cells are missing, or not too large.
    """

    inputs: Mapping[str, Value]
    markers: Markers
    fits: list[Value]


class CSource(Protocol):
    """A source in C: the functions that a schema can use, and the text of constants."""

    markers: list[str]
    """Numbers that mean a missing value."""

    def name(self, function: str) -> str:
        """Return what a function is called in the source, which then has it."""

    def array(self, name: str, values: Sequence[float] | Sequence[str], label: str) -> str:
        """Return the definition of an array of numbers or strings; errors name the label."""

    def scaled(self, scale: Mapping[str, Any]) -> tuple[str, str]:
        """Return constants, and the expression of a `number` on a scale."""


class ColumnEncoder(ABC):
    """A kind of column. All its encoders make the same numbers of a cell."""

    name: ClassVar[Kind]
    field: ClassVar[str]
    """The type in C of a column in a row; "{prefix}" is that of all names."""

    @abstractmethod
    def accepts(self, cells: Cells, markers: Markers) -> bool:
        """Return whether a column of such cells is of this kind, unless it is of one before it."""

    @abstractmethod
    def learn(self, rows: Rows) -> tuple[Column, Mapping[str, np.ndarray]]:
        """Return a column, and its numbers that get a scale, without missing ones.

        A cell that is not of this kind, or infinite, is a DataError that says where.
        """

    @abstractmethod
    def features(self, column: Column) -> list[Feature]:
        """Return what is made of a column that is not dropped."""

    @abstractmethod
    def becomes(self, column: Column) -> str:
        """Return what is made of a column, in words."""

    @abstractmethod
    def encode(
        self, column: Column, table: Table, markers: Markers, unseen: UnseenValues
    ) -> Iterator[Encoded]:
        """Yield what becomes of a column of a table, and note what is unusual."""

    @staticmethod
    @abstractmethod
    def cell(
        column: dict[str, Any], cell: str, row: list[float], scaled: Callable[..., float]
    ) -> None:
        """Set the numbers of a cell in a row, in plain Python: the text is copied to exports.

        The column is described in JSON types: "places" in the row and "scales", by what stands
        there, and "codes". The cell is empty if it is missing.
        """

    @abstractmethod
    def nodes(self, columns: Sequence[Column], rows: GraphRows) -> Iterator[Encoded]:
        """Yield what becomes of all columns of the kind in an ONNX graph."""

    @abstractmethod
    def c(self, described: Mapping[str, Any], cell: str, source: CSource) -> str:
        """Return the lines in C that encode a cell of a column, described as for `cell`."""


def check_complete(table: Table, name: str, missing: np.ndarray, what: str, why: str = "") -> None:
    """Raise a DataError if a row has no value."""
    if missing.any():
        count = int(missing.sum())
        more = f", and in {plural(count - 1, 'other row')}" if count > 1 else ""
        raise DataError(
            f"{table.place(name, int(missing.argmax()))}: the {what} is missing here{more}{why}; "
            "fill it in, or remove such rows"
        )


def wrong_cell(
    table: Table,
    name: str,
    cells: Cells,
    others: Sequence[int],
    expected: str,
    advice: str = "",
) -> DataError:
    """Return the error for the first cell that is not what a column should hold."""
    cells = coded(cells)
    rows = np.isin(cells.codes, others)
    row = int(rows.argmax())
    more = int(rows.sum()) - 1
    further = f", and so {'is' if more == 1 else 'are'} {more:,} more" if more else ""
    value = cells.values[cells.codes[row]]
    advice = advice or "Correct it, leave the cell empty, or make the column a category"
    return DataError(f"{table.place(name, row)}: {expected}; got {value!r:.80}{further}. {advice}")
