"""All subcommands of scripts/benchmark.py."""

import click

from benchmarks import (
    comparisons,
    custom_classes,
    estimators,
    fma,
    footprint,
    images,
    launches,
    memory,
    overhead,
    searches,
    step_times,
    table_coverage,
    table_epochs,
    table_predictions,
    table_ranks,
    tables,
    wheel,
)


@click.group(context_settings={"show_default": True})
def command() -> None:
    """Measure gpunn on this machine's CPU, and other libraries that do the same work.

    Exit status: 0 if all libraries did everything within the stated bounds, otherwise 1.
    """


for each in (
    *(step_times.grid, step_times.realistic),
    *(comparisons.mnist, comparisons.predict),
    *(footprint.footprint, wheel.command, memory.command, overhead.command, fma.command),
    *(custom_classes.command, estimators.command, searches.command, tables.command, images.command),
    *(table_epochs.command, table_predictions.command, table_coverage.command),
    *(table_ranks.command, launches.command),
):
    command.add_command(each)
