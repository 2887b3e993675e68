"""The subcommands that compare: what is asked, and which figures the answers amount to."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from benchmarks.competitors import EVERYBODY, FLOOR, FLOORS, SUBJECTS, TRAINERS, process_environment
from benchmarks.figures import Figure, figures, number
from benchmarks.machine import installed_bytes
from benchmarks.options import BATCHES, DATA, OPTIMIZERS, SECONDS, SIZES, TASKS, subcommand
from benchmarks.session import FailedError, Measured, Session, Worker
from benchmarks.work import GRID_RATES, MNIST_TASKS, Product, Task

Answer = dict[str, Any]
Names = Sequence[str]


@click.group(context_settings={"show_default": True})
def command() -> None:
    """Measure gpunn on this machine's CPU, beside other libraries where they do the same work.

    Exit status: 0 everybody did everything, and within the stated bounds; 1 not so.
    """


def trainers(names: Names) -> list[str]:
    """Return those that train, without the floors."""
    return [name for name in names if name in TRAINERS]


@subcommand(command, "grid", SIZES, BATCHES, OPTIMIZERS, SECONDS)
def grid(
    session: Session,
    names: Names,
    sizes: Sequence[tuple[int, ...]],
    batches: Sequence[int],
    optimizers: Sequence[str],
    seconds: float,
) -> list[Figure]:
    """Microseconds a training step, over networks, batch sizes and optimizers."""
    cells = itertools.product(sizes, batches, optimizers)
    tasks = [Task(*cell, GRID_RATES[cell[2]]) for cell in cells]
    measured = session.measure(
        tasks,
        [*trainers(names), FLOOR],
        lambda task, turn: ("synthetic", {"task": task, "seconds": seconds}),
    )
    warm_ups: dict[str, list[float]] = {}
    for (_, name), turns in measured.items():
        warm_ups.setdefault(name, []).extend(first_epoch(turn.answer) for turn in turns[:1])
    text = ", ".join(f"{name} {number(max(each))}" for name, each in warm_ups.items() if each)
    click.echo(f"Seconds that the first epoch in a process took more, at most: {text}")
    return figures(measured, step_microseconds)


def step_microseconds(answer: Answer) -> list[float]:
    """Return each epoch's microseconds a step, without the first epoch."""
    return [1e6 * seconds / answer["steps"] for seconds in answer["seconds"][1:]]


def first_epoch(answer: Answer) -> float:
    """Return the seconds that the first epoch took more than the later ones."""
    first, *later = answer["seconds"]
    return max(0.0, first - statistics.median(later))


@subcommand(
    command, "mnist", TASKS, DATA, click.option("--epochs", type=click.IntRange(2), default=5)
)
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
    command,
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


@subcommand(command, "predict", TASKS, DATA)
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


@subcommand(command, "footprint", DATA)
def footprint(session: Session, names: Names, folder: str) -> list[Figure]:
    """Import, whole processes, installed size, peak memory; gemm is NumPy with the data alone."""
    chosen = trainers(names)
    everybody = [*chosen, FLOOR]
    cells = {
        "import, s": lambda each: each.imports,
        "import with what trains, s": lambda each: f"{each.imports}; {each.uses}",
    }

    def importing(cell: str, name: str, turn: int) -> Callable[[], Answer]:
        statements = cells[cell](EVERYBODY[name])
        return lambda: import_seconds(name, statements, session.threads)

    for name in everybody:  # so that the first turn, too, reads from memory rather than from disk
        importing(list(cells)[-1], name, 0)()
    measured = session.rotate(list(cells), everybody, importing)
    measured |= session.rotate(
        ["a process that fits a tiny network, s"],
        chosen,
        lambda cell, name, turn: lambda: tiny_fit(name, session.threads),
    )
    found = figures(measured, lambda a: [a["seconds"]])
    for task, some in ((MNIST_TASKS["1"], chosen), (None, [FLOOR])):
        arguments = {"task": task, "folder": folder}
        peaks = session.measure(
            ["peak memory of an epoch, MB"],
            some,
            lambda cell, turn, arguments=arguments: ("peak_memory", arguments),
            fresh=True,
        )
        found += figures(peaks, lambda a: [a["bytes"] / 1e6])
    for name in everybody:
        size = installed_bytes(EVERYBODY[name].packages) / 1e6
        cell = "installed with what it requires, MB"
        found.append(Figure(cell, name, size, size, 0.0, 1, 1, [[size]], compared=True))
    return found


def import_seconds(name: str, statements: str, threads: int) -> Answer:
    """Return what a new process of a competitor takes for the statements."""
    code = (
        f"import time\nbegan = time.perf_counter()\n{statements}\n"
        "print(time.perf_counter() - began)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=process_environment(name, threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FailedError(f"{statements}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return {"seconds": float(done.stdout.split()[-1])}


def tiny_fit(name: str, threads: int) -> Answer:
    """Return what a whole process takes that fits a tiny network."""
    began = time.perf_counter()
    worker = Worker(name, threads)
    try:
        worker.ask("tiny")
    finally:
        worker.close()
    return {"seconds": time.perf_counter() - began}


@subcommand(command, "gemm", SIZES, BATCHES, SECONDS)
def gemm(
    session: Session,
    names: Names,
    sizes: Sequence[tuple[int, ...]],
    batches: Sequence[int],
    seconds: float,
) -> list[Figure]:
    """GFLOP/s of large matrix products, and of those that the grid's steps consist of."""
    products = [Product(n, n, n, "large") for n in (512, 1024, 2048)]
    for cell in itertools.product(sizes, batches):
        products += Task(*cell, "sgd", 0.0).products()
    measured = session.measure(
        list(dict.fromkeys(products)),
        [name for name in FLOORS if name == FLOOR or name in names],
        lambda product, turn: ("product", {"product": product, "seconds": seconds / 2}),
    )
    return figures(measured, lambda a: [a["gflops"]], compared=False)


MISH_MEANS = {"near 0": 0.0, "very negative": -95.0}
"""Pre-activations: with the second, most of Mish's derivatives are below 1.2e-38."""


@subcommand(command, "subnormals", SECONDS)
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
