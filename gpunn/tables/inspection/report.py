"""The report of `gpunn inspect` on a table: the columns, their encoding, and problems."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.errors import ArgumentError, DataError
from gpunn.meaning import plural
from gpunn.rows.cells import Markers
from gpunn.rows.predictions import text_of_cell
from gpunn.tables.cells import category_names, coded, numbers_of
from gpunn.tables.columns import Column
from gpunn.tables.encoders import kind_of
from gpunn.tables.encoders.datetime import valid_dates
from gpunn.tables.encoders.number import finite_numbers
from gpunn.tables.schema import ON_REQUEST, Schema
from gpunn.tables.splitting import (
    advice_on_splits,
    check_split,
    group_left_out,
    split_by,
    split_values,
)
from gpunn.tables.table import Coded, Table, row_name

__all__ = ["MAX_CLASSES", "Inspection", "class_names", "inspect"]

MAX_CLASSES = 20
"""If a target of integers has more distinct values than this, the integers are numbers, not
classes."""

LABELS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
"""Maps the text of a label to its value; labels are several targets that are true or false."""

SHOWN = 3

MAX_SPELLED = 1e12
"""Largest number that is shown without an exponent."""

FAR = 15
"""A number is reported if its distance from the median is more than this many interquartile
ranges."""


@dataclass(frozen=True)
class Inspection:
    """The report on a table."""

    schema: Schema
    """The schema, which is learned from all columns except targets and dropped columns."""
    columns: list[tuple[str, ...]]
    """A header, and a row for each column: name, kind, encoding, number of missing values, and
    values."""
    targets: dict[str, str]
    problems: list[str]


def inspect(
    table: Table,
    targets: Sequence[str] = (),
    drop: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    missing_values: Sequence[str] = (),
    split: str | None = None,
) -> Inspection:
    """Choose a schema for a table, and report problems; `Schema.fit` describes the arguments.

    The split is "time=COLUMN", "group=COLUMN" or "random". None also means a random split, but then
    reasons for another split are added to the problems.
    """
    markers = Markers.of(missing_values)
    described, problems = dict[str, str](), list[str]()
    for name in targets:
        described[name], wrong = described_target(table, name, markers, len(targets) > 1)
        problems += wrong
        for argument, names in (("drop", drop), (f"columns.{name}", columns or ())):
            if name in names:  # training refuses it as well
                raise ArgumentError(f"{argument}: column {name!r} is the target")
    if split is not None and (by := split_by(check_split("split", split))) is not None:
        if by[1] in targets:
            raise ArgumentError(f"split: column {by[1]!r} is the target; split by another column")
        split_values(table, *by, markers)
    left_out = [*drop, *targets, *group_left_out(split, columns or ())]
    schema = Schema.fit(table, columns=columns, drop=left_out, missing_values=missing_values)
    header, *rows = schema.describe()
    cells: list[tuple[str, ...]] = [(*header[:-1], "values")]
    for column, row in zip(schema.columns, rows, strict=True):
        if column.name in described:
            cells.append((column.name, "", "target", "", ""))
        elif column.reported == ON_REQUEST:
            cells.append((column.name, "", "left out", "", ""))
        else:
            becomes = "dropped" if column.dropped else row[2]
            cells.append((*row[:2], becomes, row[3], values_of(table, column, markers)))
    problems += schema.problems
    problems += [each for column in schema.columns for each in far_out(table, column, markers)]
    if split is None:
        problems += advice_on_splits(table, schema.columns, markers)
    return Inspection(schema, cells, described, problems)


def values_of(table: Table, column: Column, markers: Markers) -> str:
    """Return the smallest and largest numbers or dates, or the most frequent categories."""
    if column.kind == "number":
        return extremes(finite_numbers(table, column.name, markers))
    if column.kind == "datetime":
        dates = valid_dates(table, column.name, markers)
        dates = dates[~np.isnat(dates)]
        return f"{dates.min().item()} to {dates.max().item()}" if len(dates) else ""
    cells = coded(table.column(column.name))
    counts = counted(cells, category_names(cells.values, markers))
    shown = [f"{text!r:.30} {percentage(count, table.rows)}" for text, count in counts[:SHOWN]]
    return ", ".join([*shown, "..."] if len(counts) > SHOWN else shown)


def percentage(part: int, whole: int) -> str:
    """Return a percentage, rounded down."""
    return f"{100 * part // whole} %" if 100 * part >= whole else "<1 %"


def far_out(table: Table, column: Column, markers: Markers) -> list[str]:
    """Return problems with numbers that are far from all other numbers."""
    if not column.is_number:
        return []
    numbers = finite_numbers(table, column.name, markers) / 2  # so that no difference overflows
    low, q25, median, q75, high = np.nanquantile(numbers, [0, 0.25, 0.5, 0.75, 1])
    problems = []
    for extreme, distance in (("smallest", median - low), ("largest", high - median)):
        if q75 > q25 and distance / FAR > q75 - q25:
            value = 2 * (low if extreme == "smallest" else high)
            row = int(np.nanargmin(np.abs(numbers - value / 2)))
            problems.append(
                f"{column.name}: the {extreme}, {spelled(value)} ({row_name(table, row)}), is "
                f"{spelled(ratio_of(distance, q75 - q25))} interquartile ranges from the "
                "median"
            )
    return problems


def ratio_of(distance: float, unit: float) -> float:
    """Return a rounded distance in multiples of a unit, at most the largest float."""
    return float(round(min(float(distance) / float(unit), sys.float_info.max)))


def extremes(numbers: np.ndarray) -> str:
    """Return the minimum, maximum and median of numbers."""
    present = numbers[~np.isnan(numbers)]
    if not len(present):
        return ""
    low, median, high = np.quantile(present, [0, 0.5, 1], method="inverted_cdf")
    return f"{spelled(low)} to {spelled(high)}, median {spelled(median)}"


def spelled(number: float) -> str:
    """Return a number with six digits, or an integer with all its digits."""
    return f"{number:.0f}" if number % 1 == 0 and abs(number) < MAX_SPELLED else f"{number:g}"


def class_names(values: Sequence[object], markers: Markers) -> list[str | None]:
    """Return the class name of each value of a target, or None if the value is missing.

    An apostrophe that keeps a spreadsheet from running a name as a formula is not part of the name.
    """
    plain = [text_of_cell(value) if isinstance(value, str) else value for value in values]
    return category_names(plain, markers)


def counted(cells: Coded, texts: Sequence[str | None]) -> list[tuple[str, int]]:
    """Return the names of a column's values with their counts, the most frequent first."""
    rows = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values))
    counts: dict[str, int] = {}
    for text, count in zip(texts, rows.tolist(), strict=True):
        if text is not None:
            counts[text] = counts.get(text, 0) + count
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


def described_target(
    table: Table, name: str, markers: Markers, is_one_of_several: bool
) -> tuple[str, list[str]]:
    """Return a description of a target, and its problems."""
    cells = table.column(name)
    kind = kind_of(cells, markers)
    if kind == "datetime":
        raise DataError(f"{table.title}: the target {name!r} contains dates; choose another column")
    problems = []
    # Codes such as 007 count as numbers if there are too many of them for classes.
    are_codes = kind == "category" and not numbers_of(cells, markers)[1]
    numbers = finite_numbers(table, name, markers) if kind == "number" or are_codes else None
    if numbers is not None and name in table.doubts:
        problems.append(f"{name}: {table.doubts[name]}")
    unnamed = None if are_codes and not is_one_of_several else numbers
    values = coded(cells if unnamed is None else unnamed)
    texts = class_names(values.values, markers)
    counts = counted(values, texts)
    present = values.take(np.array([text is not None for text in texts], dtype=bool), False)
    if not present.all():
        location = row_name(table, int(present.argmin()))
        problems.append(
            f"{name}: the target has no value in {plural(int((~present).sum()), 'row')}, the first "
            f"in {location}: fill in these targets, or remove the rows"
        )
    if len(counts) < 2:
        problems.append(
            f"{name}: the target is the same in every row, so there is nothing to learn"
        )
    if is_one_of_several and kind == "category" and numbers is None:
        problems.append(
            f"{name}: with several targets, each must hold numbers, or labels 0 and 1; this "
            "target is text"
        )
    is_classes = numbers is None or (
        not is_one_of_several
        and len(counts) <= MAX_CLASSES
        and not (numbers[present] % 1 != 0).any()
    )
    if is_one_of_several and all(text.casefold() in LABELS for text, _ in counts):
        yes = sum(count for text, count in counts if LABELS[text.casefold()])
        return f"label; yes in {yes:,} of {plural(int(present.sum()), 'row')}", problems
    if not is_classes and numbers is not None:
        return f"numbers, {extremes(numbers)}", problems
    rare = [text for text, count in counts if count < 2]
    if rare and len(counts) > 1:
        problems.append(
            f"{name}: {plural(len(rare), 'class')} of the target, such as {rare[0]!r:.40}, "
            f"{'has' if len(rare) == 1 else 'have'} only one row, which can't be in both the "
            "training and the held-out rows"
        )
    shown = [f"{text!r:.30} ({plural(count, 'row')})" for text, count in counts[:MAX_CLASSES]]
    listed = ", ".join([*shown, "..."] if len(counts) > MAX_CLASSES else shown)
    return f"{plural(len(counts), 'class')}: {listed}", problems
