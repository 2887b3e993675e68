"""`gpunn inspect`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gpunn.cli.options import PATH, table_options, targets_option
from gpunn.cli.text import aligned, say, shortened

WIDEST = 51
"""Maximum width of a printed table's cell in characters, except in the last column."""


@click.command(short_help="Describe the columns of a table and possible problems.")
@click.argument("path", type=PATH)
@targets_option
@table_options
def inspect(path: Path, targets: tuple[str, ...], reading: Mapping[str, Any]) -> None:
    """Describe the columns of a table, their encoding for a network, and possible problems.

    PATH is a CSV or TSV file, plain or compressed with gzip, or a Parquet file.
    """
    from gpunn.meaning import plural
    from gpunn.tables import read_table
    from gpunn.tables.inspection import inspect as inspection_of

    ways = dict(reading)
    kinds, drop = ways.pop("columns", {}), ways.pop("drop", [])
    split, missing = ways.pop("split", None), ways.get("missing_values", [])
    text = [name for name, kind in kinds.items() if kind == "category"]
    table = read_table(path, text=text, **ways)
    result = inspection_of(table, targets, drop, kinds, missing, split)
    schema = result.schema
    title = f"{path}: {plural(table.rows, 'row')}, {plural(len(table.names), 'column')}"
    rows = [[*(shortened(cell, WIDEST) for cell in row[:-1]), row[-1]] for row in result.columns]
    lines = [title, "", *aligned(rows, range(len(rows[0]))), ""]
    lines.append(
        f"A row becomes {plural(len(schema.numbers), 'number')} and "
        f"{plural(len(schema.categories), 'category')}."
    )
    lines += [f"Target {name!r}: {described}" for name, described in result.targets.items()]
    lines.append("")
    lines.append("What looks wrong:" if result.problems else "Nothing looks wrong.")
    lines += [f"  {problem}" for problem in result.problems]
    say("\n".join(lines))
