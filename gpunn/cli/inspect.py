"""`gpunn inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from gpunn.cli.options import column_kinds, table_options
from gpunn.cli.text import printable

__all__ = ["inspect"]


@click.command(short_help="Tell what is in a table.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--target", metavar="NAME", help="Column to predict.")
@table_options
def inspect(
    path: Path,
    target: str | None,
    drop: tuple[str, ...],
    columns: tuple[str, ...],
    missing: tuple[str, ...],
    delimiter: str | None,
    decimal: str | None,
) -> None:
    """Tell what is in a table, what a network would get of it, and what looks wrong.

    PATH is a CSV or TSV file, plain or compressed with gzip, or a Parquet file.
    """
    from gpunn.tables import read_table
    from gpunn.tables.findings import plural
    from gpunn.tables.inspection import inspect as inspection_of

    kinds = column_kinds(columns)
    table = read_table(
        path,
        delimiter=delimiter,
        decimal=decimal,  # type: ignore[arg-type]
        text=[name for name, kind in kinds.items() if kind == "category"],
        missing_values=missing,
    )
    found = inspection_of(table, target, drop, kinds, missing)
    schema = found.schema
    title = f"{path}: {plural(table.rows, 'row')}, {plural(len(table.names), 'column')}"
    lines = [title, "", *aligned(found.columns), ""]
    lines.append(
        f"A row becomes {plural(len(schema.numbers), 'number')} and "
        f"{plural(len(schema.categories), 'category')}."
    )
    if found.target:
        lines.append(f"Target {target!r}: {found.target}")
    lines.append("")
    lines.append("What looks wrong:" if found.problems else "Nothing looks wrong.")
    lines += [f"  {problem}" for problem in found.problems]
    click.echo("\n".join(map(printable, lines)))


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table."""
    widths = [min(40, max(map(len, column))) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:{width}.{width}}" if place < len(row) - 1 else cell
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
