"""`gpunn sweep`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gpunn.cli.closed_output import FileCommand
from gpunn.cli.options import backend_option, imports_option
from gpunn.cli.text import say
from gpunn.terminal import is_terminal

__all__ = ["sweep"]


@click.command(
    cls=FileCommand, short_help="Train a configuration many times, to find its best settings."
)
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="How many trials are wanted, over all processes and calls.  [default: sweep.trials]",
)
@backend_option
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a value of the configuration for all trials. May be given several times.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the sweep.  [default: runs/<name of the configuration>-sweep]",
)
@click.option(
    "--reclaim",
    is_flag=True,
    help="First give up trials that others have begun and not ended; where no other is at work.",
)
@imports_option
@click.option("--quiet", is_flag=True, help="Print nothing but the table, warnings and errors.")
def sweep(
    config: Path,
    trials: int | None,
    backend: str | None,
    settings: tuple[str, ...],
    output: Path | None,
    reclaim: bool,
    allow_imports: bool,
    quiet: bool,
) -> None:
    """Train CONFIG many times with other values of some keys, and compare on validation rows.

    CONFIG is a TOML file with a table [sweep], which says what trials differ in. Each trial is a
    run in a folder of its own. Trials that fall behind are ended early.

    Called again, with the same folder, it goes on. Several processes can work on one sweep at a
    time, on one machine or on several that share the folder: call it once for each.

    Ctrl-C or SIGTERM ends this process's trial; the other processes go on.
    """
    from gpunn.cli.sweep_output import SweepOutput, conclusion, table
    from gpunn.distributed.launch import share_of_cores
    from gpunn.sweep import Source, run_worker
    from gpunn.sweep.process import neighbours

    share_of_cores(neighbours().local_size)
    output = output or Path("runs", f"{config.stem}-sweep")
    source = Source(config, settings, backend, allow_imports)
    bars = not quiet and is_terminal(sys.stderr)
    events = None if quiet else SweepOutput(output)
    found = run_worker(source, output, trials, reclaim=reclaim, events=events, progress=bars)
    say(f"\n{table(found)}\n\n{conclusion(found, output)}")
