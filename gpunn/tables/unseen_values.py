"""Values unseen in training: unknown categories and units, and missing values."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import numpy as np

from gpunn.errors import GpunnWarning, UnknownCategoryWarning
from gpunn.meaning import plural, shown
from gpunn.tables.table import Cells, Coded, Table


class UnseenValues:
    def __init__(self) -> None:
        self.unknown: dict[str, dict[str, int]] = {}
        self.missing: dict[str, int] = {}

    @classmethod
    def of_all(cls, parts: Iterable[UnseenValues]) -> UnseenValues:
        union = cls()
        for part in parts:
            union.unknown |= part.unknown
            union.missing |= part.missing
        return union

    def note_unknown(self, name: str, cells: Cells, others: Mapping[int, str]) -> None:
        if not isinstance(cells, Coded):
            return
        counts = np.bincount(cells.codes + 1, minlength=len(cells.values) + 1)[1:]
        rows_with: dict[str, int] = {}
        for position, text in others.items():
            rows_with[text] = rows_with.get(text, 0) + int(counts[position])
        if rows_with:
            self.unknown[name] = rows_with

    def warn(self, table: Table) -> None:
        if self.unknown:
            parts = []
            for name, counts in self.unknown.items():
                rows = plural(sum(counts.values()), "row")
                listed = shown(sorted(counts, key=lambda text: (-counts[text], text)))
                parts.append(f"column {name!r}: {rows} with {listed}")
            warnings.warn(
                f"{table.title}: categories or units unseen in training are treated as missing; "
                f"{'; '.join(parts)}",
                UnknownCategoryWarning,
                stacklevel=3,
            )
        if self.missing:
            listed = ", ".join(
                f"column {name!r} ({plural(count, 'row')})" for name, count in self.missing.items()
            )
            warnings.warn(
                f"{table.title}: values are missing, but were not missing in the training data: "
                f"{listed}. Missing numbers become the median, and missing categories get code 0",
                GpunnWarning,
                stacklevel=3,
            )
