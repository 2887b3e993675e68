"""What an encoded table has that the training rows had not, as warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import numpy as np

from gpunn.errors import GpunnWarning, UnknownCategoryWarning
from gpunn.meaning import plural, shown
from gpunn.tables.table import Coded, Table

__all__ = ["UnseenValues"]


class UnseenValues:
    """What an encoded table has that the training rows had not.

    `unknown` counts rows by category, by column, and `missing` rows without a value, by column.
    """

    def __init__(self) -> None:
        self.unknown: dict[str, dict[str, int]] = {}
        self.missing: dict[str, int] = {}

    @classmethod
    def of_all(cls, found: Iterable[UnseenValues]) -> UnseenValues:
        """Return what there is in any of them, which are of different columns."""
        every = cls()
        for each in found:
            every.unknown |= each.unknown
            every.missing |= each.missing
        return every

    def note_unknown(self, name: str, cells: Coded, others: Mapping[int, str]) -> None:
        """Count the rows of a column's values that are no category."""
        counts = np.bincount(cells.codes + 1, minlength=len(cells.values) + 1)[1:]
        found: dict[str, int] = {}
        for position, text in others.items():
            found[text] = found.get(text, 0) + int(counts[position])
        if found:
            self.unknown[name] = found

    def warn(self, table: Table) -> None:
        """Warn of all of it."""
        if self.unknown:
            parts = []
            for name, found in self.unknown.items():
                rows = plural(sum(found.values()), "row")
                listed = shown(sorted(found, key=lambda text: (-found[text], text)))
                parts.append(f"column {name!r}: {rows} with {listed}")
            warnings.warn(
                f"{table.title}: categories that the training rows had not are taken as missing; "
                f"{'; '.join(parts)}",
                UnknownCategoryWarning,
                stacklevel=3,
            )
        if self.missing:
            listed = ", ".join(
                f"column {name!r} ({plural(count, 'row')})" for name, count in self.missing.items()
            )
            warnings.warn(
                f"{table.title}: values are missing where no training row lacked one, so that "
                f"a median stands in for numbers, and no category for others: {listed}",
                GpunnWarning,
                stacklevel=3,
            )
