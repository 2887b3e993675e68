"""All subcommands of scripts/benchmark.py."""

from __future__ import annotations

import click

from benchmarks import (
    comparisons,
    estimators,
    fma,
    footprint,
    memory,
    overhead,
    step_times,
    table_epochs,
    table_ranks,
    tables,
    wheel,
)


@click.group(context_settings={"show_default": True})
def command() -> None:
    """Measure gpunn on this machine's CPU, beside other libraries where they do the same work.

    Exit status: 0 everybody did everything, and within the stated bounds; 1 not so.
    """


for each in (
    *(step_times.grid, step_times.realistic, step_times.additions),
    *(comparisons.mnist, comparisons.predict),
    *(footprint.footprint, wheel.command, memory.command, overhead.command, fma.command),
    *(estimators.command, tables.command),
    *(table_epochs.command, table_ranks.command),
):
    command.add_command(each)
