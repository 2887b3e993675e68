"""`gpunn example`."""

from pathlib import Path

import click

from gpunn.cli.closed_output import FileCommand
from gpunn.cli.text import say


@click.command(cls=FileCommand, short_help="Write an example table.")
@click.argument("path", type=click.Path(path_type=Path), default="credit_risk.csv")
def example(path: Path) -> None:
    """Write an example table: 988 loans, with text and missing values.

    PATH is the CSV file to write, by default credit_risk.csv. An existing file is not replaced.
    """
    from gpunn.data import credit_risk_file
    from gpunn.errors import FileAccessError

    try:
        with path.open("xb") as file:
            file.write(credit_risk_file().read_bytes())
    except FileExistsError as error:
        raise FileAccessError(
            error.errno,
            "the file exists already and was not changed. To write another file: "
            "gpunn example PATH",
            path,
        ) from error
    except FileNotFoundError as error:
        raise FileAccessError(
            error.errno, "there is no such folder; create it first", path.parent
        ) from error
    say(f"{path}: 988 rows, 12 columns; loan_status is the column to predict")
