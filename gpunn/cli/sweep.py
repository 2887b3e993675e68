"""`gpunn sweep`."""

import sys
from pathlib import Path

import click

from gpunn.cli.closed_output import FileCommand
from gpunn.cli.options import PATH, TABLE_SUFFIXES, backend_option, imports_option, settings_option
from gpunn.cli.text import say
from gpunn.terminal import is_terminal


@click.command(
    cls=FileCommand, short_help="Tune hyperparameters: train many trials of a configuration."
)
@click.argument("config", type=PATH)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Number of trials in total, over all processes and calls.  [default: sweep.trials]",
)
@click.option(
    "--together",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of trials to train at the same time in this process, each in one thread.",
)
@backend_option
@settings_option
@click.option(
    "--output", type=PATH, help="The sweep folder.  [default: runs/<name of CONFIG>-sweep]"
)
@click.option(
    "--reclaim",
    is_flag=True,
    help="First mark unfinished trials of other processes as lost. Use this option only if "
    "no other process is running.",
)
@imports_option
@click.option("--quiet", is_flag=True, help="Print only the final table, warnings and errors.")
def sweep(
    config: Path,
    trials: int | None,
    together: int,
    backend: str | None,
    settings: tuple[str, ...],
    output: Path | None,
    reclaim: bool,
    allow_imports: bool,
    quiet: bool,
) -> None:
    """Tune hyperparameters: train many trials of CONFIG and compare them on validation rows.

    CONFIG is a TOML file whose table [sweep] lists the keys to vary. Each trial is a run in its own
    folder. Trials that fall behind are pruned.

    To continue a sweep, repeat the command with the same folder. To train with several processes,
    on one machine or on several that share the folder, run the command once for each process.

    Ctrl-C or SIGTERM ends the trial of this process; the other processes continue.
    """
    from gpunn.cli.sweep_output import SweepOutput, conclusion, table
    from gpunn.distributed.launch import limit_to_share_of_cores
    from gpunn.sweep import Source, run_worker
    from gpunn.sweep.process import neighbors

    limit_to_share_of_cores(neighbors().local_size)
    if TABLE_SUFFIXES.intersection(config.suffixes):
        raise click.UsageError(f"{config} is a table; a sweep needs a configuration (a TOML file)")
    output = output or Path("runs", f"{config.stem}-sweep")
    source = Source(config, settings, backend, allow_imports)
    bars = not quiet and is_terminal(sys.stderr)
    events = None if quiet else SweepOutput(output)
    result = run_worker(
        source, output, trials, reclaim=reclaim, events=events, progress=bars, together=together
    )
    say(f"\n{table(result)}\n\n{conclusion(result, output)}")
