"""`gpunn report`."""

from pathlib import Path

import click

from gpunn.cli.closed_output import FileCommand
from gpunn.cli.options import PATH, backend_option, imports_option
from gpunn.cli.text import say


@click.command(cls=FileCommand, short_help="Write an HTML report with charts of runs.")
@click.argument("run_dirs", type=PATH, nargs=-1, required=True)
@click.option(
    "--output",
    type=PATH,
    default=Path("report.html"),
    show_default=True,
    help="HTML file to write.",
)
@backend_option
@imports_option
def report(
    run_dirs: tuple[Path, ...], output: Path, backend: str | None, allow_imports: bool
) -> None:
    """Write an HTML report with charts of runs to one self-contained file.

    RUN_DIRS are folders that `gpunn train` wrote; the report compares them. To compare the trials
    of a sweep, give the folder that `gpunn sweep` wrote.
    """
    from gpunn.reporting import write_report
    from gpunn.reporting.sweeps import is_sweep

    write_report(run_dirs, output, backend, allow_imports=allow_imports)
    what = f"{len(run_dirs)} run{'s' if len(run_dirs) > 1 else ''}"
    say(f"{output}: {'a sweep' if is_sweep(run_dirs[0]) else what}")
