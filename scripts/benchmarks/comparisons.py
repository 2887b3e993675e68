"""The subcommands that compare libraries on MNIST."""

import click

from benchmarks.figures import Figure, figures
from benchmarks.options import DATA, TASKS, Names, subcommand, trainers
from benchmarks.session import Answer, Session
from benchmarks.work import MNIST_TASKS


@subcommand("mnist", TASKS, DATA, click.option("--epochs", type=click.IntRange(2), default=5))
def mnist(session: Session, names: Names, tasks: Names, folder: str, epochs: int) -> list[Figure]:
    """Seconds of a whole epoch of MNIST: shuffle, gather, steps, statistics; and the accuracy."""
    # From another seed in each turn, each time in a new process; see `Jobs.mnist`.
    measured = session.measure(
        [MNIST_TASKS[each] for each in tasks],
        trainers(names),
        lambda task, turn: (
            "mnist",
            {"task": task, "folder": folder, "seed": turn, "epochs": epochs},
        ),
        fresh=True,
    )
    accuracy = f"accuracy after {epochs}, %"
    return [
        *figures(measured, later_epochs, "seconds per epoch"),
        *figures(measured, lambda a: a["seconds"][:1], "seconds of the first epoch"),
        *figures(measured, lambda a: [100 * a["accuracy"]], accuracy, compared=False),
    ]


def later_epochs(answer: Answer) -> list[float]:
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
