"""The report of `gpunn inspect` on a table: the columns, their encoding, and problems."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gpunn.errors import ArgumentError
from gpunn.rows.cells import Markers
from gpunn.tables.columns import Column
from gpunn.tables.formats import in_formats
from gpunn.tables.inspection.classes import small_classes
from gpunn.tables.inspection.codes import codes_as_numbers
from gpunn.tables.inspection.finding import Finding
from gpunn.tables.inspection.leaks import leaks
from gpunn.tables.inspection.outliers import outliers
from gpunn.tables.inspection.repeated_rows import repeated_rows
from gpunn.tables.inspection.sample import Sample, some_rows
from gpunn.tables.inspection.sentinels import sentinels
from gpunn.tables.inspection.skew import skewed_targets
from gpunn.tables.inspection.targets import target_of
from gpunn.tables.inspection.values import values_of
from gpunn.tables.schema import ON_REQUEST, Schema
from gpunn.tables.splitting import (
    advice_on_splits,
    check_split,
    group_left_out,
    split_by,
    split_values,
)
from gpunn.tables.table import Table

CHECKS = (leaks, sentinels, outliers, codes_as_numbers, small_classes, skewed_targets)

MAX_ROWS = 200_000
"""Most checks sort each column, so they read at most this number of rows, drawn at random."""


@dataclass(frozen=True)
class Inspection:
    schema: Schema
    """The schema of all columns except targets and dropped columns."""
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
    # The split is "time=COLUMN", "group=COLUMN" or "random". With None, the split is random, too,
    # and the report names the reasons for another split.
    markers = Markers.of(missing_values)
    described = {name: target_of(table, name, markers, len(targets) > 1) for name in targets}
    problems = [line for target in described.values() for line in target.problems(table)]
    for name in targets:
        for argument, names in (("drop", drop), (f"columns.{name}", columns or ())):
            if name in names:  # as in training
                raise ArgumentError(
                    f"{argument}: column {name!r} is the target; remove the column from "
                    f"{argument.partition('.')[0]!r}"
                )
    if split is not None and (by := split_by(check_split("split", split))) is not None:
        if by[1] in targets:
            raise ArgumentError(f"split: column {by[1]!r} is the target; split by another column")
        split_values(table, *by, markers, (columns or {}).get(by[1], ""))
    left_out = [*drop, *targets, *group_left_out(split, columns or ())]
    schema = Schema.fit(table, columns=columns, drop=left_out, missing_values=missing_values)
    standard = in_formats(table, schema.columns, markers)
    header, *rows = schema.describe()
    cells: list[tuple[str, ...]] = [(*header[:-1], "values")]
    for column, row in zip(schema.columns, rows, strict=True):
        if column.name in described:
            cells.append((column.name, "", "target", "", ""))
        elif column.reported == ON_REQUEST:
            cells.append((column.name, "", "left out", "", ""))
        else:
            becomes = "dropped" if column.dropped else row[2]
            cells.append((*row[:2], becomes, row[3], values_of(standard, column, markers)))
    problems += schema.problems
    problems += map(str, findings(table, targets, schema.columns, markers, split, columns or ()))
    if split is None:
        problems += advice_on_splits(table, schema.columns, markers)
    return Inspection(
        schema, cells, {name: each.description for name, each in described.items()}, problems
    )


def findings(
    table: Table,
    targets: Sequence[str],
    columns: Iterable[Column],
    markers: Markers,
    split: str | None,
    chosen: Collection[str] = (),
) -> list[Finding]:
    inputs = tuple(column for column in columns if not column.dropped)
    table = in_formats(table, inputs, markers)

    def sample_of(table: Table) -> Sample:
        read = (target_of(table, name, markers, len(targets) > 1) for name in targets)
        return Sample(table, inputs, tuple(read), markers, split, chosen)

    found = [*repeated_rows(sample_of(table))]
    rows = some_rows(table, MAX_ROWS)
    part = sample_of(table.take(rows) if len(rows) < table.rows else table)
    drawn = f", among {len(rows):,} rows drawn at random" if len(rows) < table.rows else ""
    for check in CHECKS:
        found += [replace(each, found=each.found + drawn) for each in check(part)]
    return found
