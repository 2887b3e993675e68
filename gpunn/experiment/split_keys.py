"""The column of times or groups by which the setting `data.split` splits rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from gpunn.config import SplitDataSet
from gpunn.data.splits import split_groups, split_times
from gpunn.errors import ConfigError, suggest
from gpunn.rows.cells import Markers
from gpunn.tables import Table
from gpunn.tables.splitting import split_values
from gpunn.tables.table import Cells


@dataclass(frozen=True)
class SplitKeys:
    """The column by which rows are split. `values` has each row's time or group number."""

    kind: str
    column: str
    values: np.ndarray
    cells: Cells

    @property
    def text(self) -> str:
        return f"{self.kind}={self.column}"

    def split(
        self, indices: np.ndarray | None, fraction: float, seed: int, classes: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        values = self.values if indices is None else self.values[indices]
        if self.kind == "time":
            return split_times(values, fraction)
        return split_groups(values, fraction, seed, classes)

    def last(self, indices: np.ndarray) -> str:
        """Return the latest time in the rows `indices`, as written in the table."""
        row = indices[self.values[indices].argmax()]
        cells = self.cells
        return str(cells[row] if isinstance(cells, np.ndarray) else cells.values[cells.codes[row]])


def split_keys(
    data: SplitDataSet,
    rows: Table,
    missing: Sequence[str] = (),
    kinds: Mapping[str, str] = MappingProxyType({}),
) -> SplitKeys | None:
    if data.split_by is None:
        return None
    kind, column = data.split_by
    if column not in rows:
        raise ConfigError(
            f"data.split: {rows.title} has no column {column!r}; {suggest(column, rows.names)}"
        )
    values = split_values(rows, kind, column, Markers.of(missing), kinds.get(column, ""))
    return SplitKeys(kind, column, values, rows.column(column))
