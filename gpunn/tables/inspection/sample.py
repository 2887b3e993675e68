"""The data that the checks of a table read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.randomness import generator
from gpunn.rows.cells import Markers
from gpunn.tables.cells import category_names, coded
from gpunn.tables.columns import Column
from gpunn.tables.encoders.datetime import valid_dates
from gpunn.tables.encoders.number import finite_numbers
from gpunn.tables.inspection.targets import Target
from gpunn.tables.table import Coded, Table


@dataclass(frozen=True)
class Sample:
    """A table, its inputs and its targets. `chosen` has the columns whose kinds the user chose."""

    table: Table
    inputs: tuple[Column, ...]
    targets: tuple[Target, ...]
    markers: Markers
    split: str | None = None
    chosen: Collection[str] = ()

    def column(self, name: str) -> Column:
        return next(column for column in self.inputs if column.name == name)

    def numbers(self, name: str) -> np.ndarray:
        return finite_numbers(self.table, name, self.markers)

    def columns_of_numbers(self) -> Iterator[tuple[str, np.ndarray]]:
        for column in self.inputs:
            if column.kind == "number":
                yield column.name, self.numbers(column.name)

    def measures(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from self.columns_of_numbers()
        for column in self.inputs:
            if column.kind == "datetime":
                yield column.name, self.dates(column.name)

    def dates(self, name: str) -> np.ndarray:
        dates = valid_dates(self.table, name, self.markers)
        microseconds = dates.astype(np.int64).astype(np.float64)
        microseconds[np.isnat(dates)] = np.nan
        return microseconds

    def values(self, name: str) -> np.ndarray:
        if self.column(name).kind == "number":
            return self.numbers(name)
        return self.codes(name).astype(np.float64)

    def codes(self, name: str) -> np.ndarray:
        cells = coded(self.table.column(name))
        return codes_of(cells, category_names(cells.values, self.markers))

    def some_rows(self, most: int) -> np.ndarray:
        return some_rows(self.table, most)


def some_rows(table: Table, most: int) -> np.ndarray:
    if table.rows <= most:
        return np.arange(table.rows)
    draw = generator(0, "inspection")
    return np.sort(draw.choice(table.rows, most, replace=False, shuffle=False))


def codes_of(cells: Coded, texts: Sequence[str | None]) -> np.ndarray:
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    codes = [-1 if text is None else numbers[text] for text in texts]
    return cells.take(np.array(codes, dtype=np.int64), -1)
