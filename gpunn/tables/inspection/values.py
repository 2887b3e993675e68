"""Short descriptions of a column's values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpunn.rows.cells import Markers
from gpunn.tables.cells import category_names, coded
from gpunn.tables.columns import Column
from gpunn.tables.encoders.datetime import valid_dates
from gpunn.tables.encoders.number import finite_numbers
from gpunn.tables.table import Coded, Table

SHOWN = 3

MAX_SPELLED = 1e12
"""Largest number that is shown without an exponent."""


def values_of(table: Table, column: Column, markers: Markers) -> str:
    if column.kind == "number":
        return extremes(finite_numbers(table, column.name, markers))
    if column.kind == "datetime":
        dates = valid_dates(table, column.name, markers)
        dates = dates[~np.isnat(dates)]
        ends = [dates.min().item(), dates.max().item()] if len(dates) else []
        return " to ".join(str(end.time() if column.is_time_of_day else end) for end in ends)
    cells = coded(table.column(column.name))
    counts = counted(cells, category_names(cells.values, markers))
    shown = [f"{text!r:.30} {percentage(count, table.rows)}" for text, count in counts[:SHOWN]]
    return ", ".join([*shown, "..."] if len(counts) > SHOWN else shown)


def percentage(part: int, whole: int) -> str:
    return f"{100 * part // whole} %" if 100 * part >= whole else "<1 %"


def extremes(numbers: np.ndarray) -> str:
    present = numbers[~np.isnan(numbers)]
    if not len(present):
        return ""
    low, median, high = np.quantile(present, [0, 0.5, 1], method="inverted_cdf")
    return f"{spelled(low)} to {spelled(high)}, median {spelled(median)}"


def spelled(number: float) -> str:
    return f"{number:.0f}" if number % 1 == 0 and abs(number) < MAX_SPELLED else f"{number:g}"


def counted(cells: Coded, texts: Sequence[str | None]) -> list[tuple[str, int]]:
    rows = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values))
    counts: dict[str, int] = {}
    for text, count in zip(texts, rows.tolist(), strict=True):
        if text is not None:
            counts[text] = counts.get(text, 0) + count
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))
