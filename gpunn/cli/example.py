"""`gpunn example`."""

from __future__ import annotations

from pathlib import Path

import click

from gpunn.cli.closed_output import FileCommand
from gpunn.cli.text import say

__all__ = ["example"]


@click.command(cls=FileCommand, short_help="Write a table to try things on.")
@click.argument("path", type=click.Path(path_type=Path), default="credit_risk.csv")
def example(path: Path) -> None:
    """Write a table to try things on: 988 loans, with text and gaps.

    PATH is the CSV file to write, by default credit_risk.csv. A file that is there is left alone.
    """
    from gpunn.data import credit_risk_file

    with path.open("xb") as file:
        file.write(credit_risk_file().read_bytes())
    say(f"{path}: 988 rows, 12 columns; loan_status is the one to predict")
