"""The subcommands that time training steps, on synthetic data."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click

from benchmarks.competitors import EVERYBODY, FLOOR
from benchmarks.figures import Figure, figures, number
from benchmarks.options import (
    BATCHES,
    OPTIMIZERS,
    SECONDS,
    SIZES,
    Names,
    listed,
    one_of,
    subcommand,
    trainers,
)
from benchmarks.realistic import REALISTIC
from benchmarks.session import Answer, Session
from benchmarks.work import GRID_RATES, Task


@subcommand("grid", SIZES, BATCHES, OPTIMIZERS, SECONDS)
def grid(
    session: Session,
    names: Names,
    sizes: Sequence[tuple[int, ...]],
    batches: Sequence[int],
    optimizers: Sequence[str],
    seconds: float,
) -> list[Figure]:
    """Microseconds per training step, over networks, batch sizes and optimizers."""
    cells = itertools.product(sizes, batches, optimizers)
    tasks = [Task(*cell, GRID_RATES[cell[2]]) for cell in cells]
    return step_times(session, trainers(names), tasks, seconds)


def named(tasks: Sequence[Task]) -> Callable[..., Any]:
    by_name = {task.name: task for task in tasks}
    return click.option(
        "--tasks", callback=listed(one_of(by_name)), help=f"Default: {', '.join(by_name)}."
    )


@subcommand("realistic", named(REALISTIC), SECONDS)
def realistic(session: Session, names: Names, tasks: Names | None, seconds: float) -> list[Figure]:
    """Microseconds per training step of typical networks."""
    chosen = [task for task in REALISTIC if tasks is None or task.name in tasks]
    return step_times(session, of_any_network(names), chosen, seconds)


def of_any_network(names: Names) -> list[str]:
    return [name for name in trainers(names) if not EVERYBODY[name].plain_only]


def step_times(
    session: Session, names: Names, tasks: Sequence[Task], seconds: float
) -> list[Figure]:
    microseconds_at_peak(session, tasks)  # also before, in case the machine is slower afterwards
    measured = session.measure(
        tasks,
        [*names, FLOOR],
        lambda task, turn: ("synthetic", {"task": task, "seconds": seconds}),
    )
    warm_ups: dict[str, list[float]] = {}
    for (_, name), turns in measured.items():
        warm_ups.setdefault(name, []).extend(first_epoch(turn.answer) for turn in turns[:1])
    text = ", ".join(f"{name} {number(max(each))}" for name, each in warm_ups.items() if each)
    click.echo(f"Extra seconds of the first epoch in a process, at most: {text}")
    results = figures(measured, step_microseconds)
    at_peak = microseconds_at_peak(session, tasks)
    for dtype, peak in session.peaks.items():
        click.echo(
            f"Measured FMA peak ({dtype}, threads: {session.threads}): {peak:.0f} GFLOP/s. "
            "Percentages are the share of it that a step's matrix products reach."
        )
    return [
        replace(each, share=at_peak[each.cell] / each.median) if each.cell in at_peak else each
        for each in results
    ]


def microseconds_at_peak(session: Session, tasks: Sequence[Task]) -> dict[str, float]:
    peaks = {dtype: session.fma_peak(dtype) for dtype in dict.fromkeys(t.dtype for t in tasks)}
    return {
        str(task): task.flops() / (1e3 * peak)
        for task in tasks
        if (peak := peaks[task.dtype]) is not None
    }


def step_microseconds(answer: Answer) -> list[float]:
    """Return the microseconds per step of each epoch, except the first."""
    return [1e6 * seconds / answer["steps"] for seconds in answer["seconds"][1:]]


def first_epoch(answer: Answer) -> float:
    """Return by how many seconds the first epoch was longer than the later ones."""
    first, *later = answer["seconds"]
    return max(0.0, first - statistics.median(later))
