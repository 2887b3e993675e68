"""The interface of a kind of column: how it is learned, and its encoders."""

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


@dataclass(frozen=True, eq=False)
class Rows:
    table: Table
    name: str
    markers: Markers
    every: Table
    """All rows, including held-out rows: the column's kind must not depend on the split."""
    chosen: bool
    """Whether the user chose the column's kind."""


class Encoded(NamedTuple):
    """The numbers that encode cells.

    `numbers` is an array for one feature, or an ONNX `Value` with one column per feature. If the
    numbers need scaling, `missing` marks the missing cells. Before scaling, the median replaces
    these cells.
    """

    features: list[Feature]
    numbers: Any
    missing: Any = None


class GraphRows(NamedTuple):
    """Rows in an ONNX graph: columns of shape (rows, 1), and the markers of missing values.

    Encoders append Boolean arrays to `fits`. False marks a number that is too large to encode.
    """

    inputs: Mapping[str, Value]
    markers: Markers
    fits: list[Value]


class CSource(Protocol):
    """Collects the C functions that a schema's encoders call, and writes constants in C."""

    markers: list[str]
    """The numbers that stand for a missing value, written as C source."""

    def name(self, function: str) -> str:
        """Add a function to the source, and return the function's name in the source."""

    def array(self, name: str, values: Sequence[float] | Sequence[str], label: str) -> str:
        """Define an array of numbers or strings in C; `label` names the array in error messages."""

    def scaled(self, scale: Mapping[str, Any]) -> tuple[str, str]:
        """Return C constants, and a C expression that uses them to scale the variable `number`."""


class Encoder(ABC):
    """Encodes columns of one kind.

    For each cell, `encode`, `cell`, `nodes` and the code from `c` compute the same numbers.
    """

    name: ClassVar[Kind]
    field: ClassVar[str]
    """The C type of a cell; it may contain "{prefix}", the prefix of all names in C."""

    @abstractmethod
    def accepts(self, cells: Cells, markers: Markers) -> bool:
        """Return whether this encoder suits a column with these cells."""

    @abstractmethod
    def learn(self, rows: Rows) -> tuple[Column, Mapping[str, np.ndarray]]:
        """Return the column, and the numbers that determine how its features are scaled.

        The mapping has an array of nonmissing numbers for each `Feature.aspect` to scale.
        """

    @abstractmethod
    def features(self, column: Column) -> list[Feature]:
        """Return the features of a column that is not dropped."""

    @abstractmethod
    def becomes(self, column: Column) -> str:
        """Describe a column's features, such as "3 categories"."""

    @abstractmethod
    def encode(
        self, column: Column, table: Table, markers: Markers, unseen: UnseenValues
    ) -> Iterator[Encoded]:
        """Yield the encoded features of a table's column, and record the column's unseen values."""

    @staticmethod
    @abstractmethod
    def cell(
        column: dict[str, Any], cell: str, row: list[float], scaled: Callable[..., float]
    ) -> None:
        """Write the numbers that encode a cell into `row`; an empty cell means a missing value.

        Exports contain this function. In `column`, "places" maps each `Feature.aspect` to a
        position in `row`. For categories, "codes" maps each cell to a code. For other columns,
        "scales" maps each scaled aspect to a scale.
        """

    @abstractmethod
    def nodes(self, columns: Sequence[Column], rows: GraphRows) -> Iterator[Encoded]:
        """Yield encoded features of all columns of this encoder's kind, as ONNX graph values."""

    @abstractmethod
    def c(self, described: Mapping[str, Any], cell: str, source: CSource) -> str:
        """Return lines of C that encode `cell`; `described` is the argument `column` of `cell`."""


def check_complete(table: Table, name: str, missing: np.ndarray, what: str, why: str = "") -> None:
    if missing.any():
        count = int(missing.sum())
        more = f", and in {plural(count - 1, 'other row')}" if count > 1 else ""
        raise DataError(
            f"{table.place(name, int(missing.argmax()))}: the {what} is missing here{more}{why}; "
            "fill in missing values, or remove these rows"
        )


def wrong_cell(
    table: Table, name: str, cells: Cells, others: Sequence[int], expected: str, advice: str = ""
) -> DataError:
    cells = coded(cells)
    rows = np.isin(cells.codes, others)
    row = int(rows.argmax())
    more = int(rows.sum()) - 1
    further = f" (and {plural(more, 'more wrong cell')})" if more else ""
    value = cells.values[cells.codes[row]]
    advice = advice or (
        "Correct the cell, or leave it empty. To train with such cells, make the column a category"
    )
    return DataError(f"{table.place(name, row)}: {expected}; got {value!r:.80}{further}. {advice}")
