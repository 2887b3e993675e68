"""The subcommands that compare on MNIST, and by single products and passes."""

from __future__ import annotations

import statistics
from typing import Any

import click

from benchmarks.competitors import SUBJECTS
from benchmarks.figures import Figure, figures
from benchmarks.options import DATA, SECONDS, TASKS, Names, subcommand, trainers
from benchmarks.session import Answer, Measured, Session
from benchmarks.work import MNIST_TASKS, Task


@subcommand("mnist", TASKS, DATA, click.option("--epochs", type=click.IntRange(2), default=5))
def mnist(session: Session, names: Names, tasks: Names, folder: str, epochs: int) -> list[Figure]:
    """Seconds of a whole epoch of MNIST: shuffle, gather, steps, statistics; and the accuracy."""
    measured = train_mnist(session, names, tasks, folder, epochs, None)
    accuracy = f"accuracy after {epochs}, %"
    return [
        *figures(measured, later_epochs, "seconds an epoch"),
        *figures(measured, lambda a: a["seconds"][:1], "seconds of the first epoch"),
        *figures(measured, lambda a: [100 * a["accuracies"][-1]], accuracy, compared=False),
    ]


@subcommand(
    "time-to-98",
    TASKS,
    DATA,
    click.option("--epochs", type=click.IntRange(2), default=20, help="At most."),
    click.option("--target", type=click.FloatRange(0, 1), default=0.98),
)
def time_to_98(
    session: Session, names: Names, tasks: Names, folder: str, epochs: int, target: float
) -> list[Figure]:
    """Seconds of training until the test accuracy first reaches 98 %.

    Warm: the number of epochs times the median of an epoch after the first. As run: all epochs, the
    first one's compilation included. Cold: importing the library and building the network as well.
    These are of the runs that get there.
    """
    measured = train_mnist(session, names, tasks, folder, epochs, target)
    there: Measured = {}
    for (task, name), turns in measured.items():
        there[task, name] = [t for t in turns if t.answer["accuracies"][-1] >= target]
        click.echo(f"{task}, {name}: {len(there[task, name])} of {len(turns)} runs got there")

    def warm(answer: Answer) -> list[float]:
        return [len(answer["seconds"]) * statistics.median(later_epochs(answer))]

    return [
        *figures(there, warm, "seconds, warm"),
        *figures(there, lambda a: [sum(a["seconds"])], "seconds, as run"),
        *figures(there, lambda a: [a["cold"]], "seconds, cold"),
        *figures(there, lambda a: [len(a["seconds"])], "epochs", compared=False),
        *figures(measured, lambda a: [100 * max(a["accuracies"])], "best, %", compared=False),
    ]


def train_mnist(
    session: Session,
    names: Names,
    tasks: Names,
    folder: str,
    epochs: int,
    target: float | None,
) -> Measured:
    """Train from another seed in each round, each time in a new process; see `Jobs.mnist`."""

    def question(task: Task, turn: int) -> tuple[str, dict[str, Any]]:
        arguments = {"task": task, "folder": folder, "seed": turn}
        return "mnist", {**arguments, "epochs": epochs, "target": target}

    return session.measure(
        [MNIST_TASKS[each] for each in tasks], trainers(names), question, fresh=True
    )


def later_epochs(answer: Answer) -> list[float]:
    """Return the epochs' seconds without the first, unless it is the only one."""
    seconds: list[float] = answer["seconds"]
    return seconds[1:] or seconds


@subcommand("predict", TASKS, DATA)
def predict(session: Session, names: Names, tasks: Names, folder: str) -> list[Figure]:
    """The latency of one sample, and the time for MNIST's 10,000 test rows."""
    measured = session.measure(
        [MNIST_TASKS[each] for each in tasks],
        trainers(names),
        lambda task, turn: ("predict", {"task": task, "folder": folder}),
    )
    return [
        *figures(measured, lambda a: [1e6 * a["one"]], "one sample, us"),
        *figures(measured, lambda a: [1e3 * a["all"]], "10,000 rows, ms"),
    ]


MISH_MEANS = {"near 0": 0.0, "very negative": -95.0}
"""Pre-activations: with the second, most of Mish's derivatives are below 1.2e-38."""


@subcommand("subnormals", SECONDS)
def subnormals(session: Session, names: Names, seconds: float) -> list[Figure]:
    """Microseconds of a backward pass through Dense(256, "mish"), 256 rows of 256 inputs.

    Most of its derivatives are subnormal where the pre-activations are very negative.
    """
    measured = session.measure(
        list(MISH_MEANS),
        [name for name in names if name in SUBJECTS],
        lambda kind, turn: ("mish_backward", {"mean": MISH_MEANS[kind], "seconds": seconds / 2}),
    )
    return figures(measured, lambda a: [1e6 * a["seconds"]])
