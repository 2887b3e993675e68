"""The command: options in, tables and a JSON file out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from benchmarks import machine
from benchmarks.catalogue import EVERYBODY, FLOOR
from benchmarks.modes import MODES, NEED_MNIST
from benchmarks.plan import PLURAL, Plan
from benchmarks.session import Rounds, Session
from benchmarks.work import GRID_BATCHES, GRID_RATES, GRID_SIZES, MNIST_TASKS, Task, keep_mnist
from gpunn.storage.files import write_json


def listed(convert: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a callback that reads a list separated by commas."""

    def callback(context: click.Context, option: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            return tuple(convert(item) for item in text.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{text!r}: {error}") from None

    return callback


def net(text: str) -> tuple[int, ...]:
    """Read "784-128-10"."""
    widths = tuple(int(width) for width in text.split("-"))
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"{text}: expected widths such as 784-128-10")
    return widths


def known(choices: Sequence[str]) -> Callable[[str], str]:
    """Return a function that lets only these through."""

    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError(f"there is no {text!r}; there are: {', '.join(choices)}")
        return text

    return convert


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if int(text) < 1:
        raise ValueError(f"{text}: expected a number above 0")
    return int(text)


def mnist_task(text: str) -> Task:
    """Read the number of a training on MNIST."""
    number = positive(text)
    if number > len(MNIST_TASKS):
        raise ValueError(f"there is no {number}; there are 1 to {len(MNIST_TASKS)}")
    return MNIST_TASKS[number - 1]


def joined(items: Sequence[Any]) -> str:
    """Return the text that `listed` reads as these items."""
    return ",".join(map(str, items))


@click.command()
@click.argument("modes", nargs=-1, required=True, type=click.Choice([*MODES, "all"]))
@click.option(
    "--only",
    callback=listed(known(list(EVERYBODY))),
    help=f"Who takes part: {', '.join(EVERYBODY)}. Default: whoever is installed, but for "
    + " and ".join(name for name, each in EVERYBODY.items() if not each.by_default)
    + ".",
)
@click.option(
    "--sizes",
    callback=listed(net),
    default=joined(["-".join(map(str, sizes)) for sizes in GRID_SIZES]),
    show_default=True,
    help="Networks of the grid.",
)
@click.option(
    "--batches", callback=listed(positive), default=joined(GRID_BATCHES), show_default=True
)
@click.option(
    "--optimizers",
    callback=listed(known(list(GRID_RATES))),
    default=joined(list(GRID_RATES)),
    show_default=True,
)
@click.option(
    "--tasks",
    callback=listed(mnist_task),
    default="1,2",
    show_default=True,
    help="Trainings on MNIST: "
    + "; ".join(f"{number} is {task}" for number, task in enumerate(MNIST_TASKS, 1))
    + ".",
)
@click.option(
    "--reps", type=click.IntRange(1), default=3, show_default=True, help="Turns of each in a cell."
)
@click.option(
    "--extra",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="More turns at most where none was quiet.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=0.3,
    show_default=True,
    help="Of a turn in the grid.",
)
@click.option(
    "--epochs", type=click.IntRange(2), default=5, show_default=True, help="Of a turn of mnist."
)
@click.option(
    "--most-epochs", type=click.IntRange(2), default=20, show_default=True, help="Of time-to-98."
)
@click.option(
    "--statistic",
    type=click.Choice(list(PLURAL)),
    default="median",
    show_default=True,
    help="Of quiet turns, that ratios are taken of.",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Of every library. Default: the usable cores."
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with MNIST's four IDX files. Default: mnist in GPUNN_DATA, or GPUNN_DATA.",
)
@click.option(
    "--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="File for every figure."
)
def main(
    modes: tuple[str, ...],
    only: tuple[str, ...] | None,
    reps: int,
    extra: int,
    threads: int | None,
    data: Path | None,
    path: Path | None,
    **choices: Any,
) -> None:
    """Time gpunn beside other libraries at the same work, on the CPU.

    MODES: grid (microseconds a training step), mnist (seconds an epoch), time-to-98 (seconds to
    98 % test accuracy), predict, footprint (import, disk, memory, cold start), gemm (speed of
    matrix products), subnormals (what numbers of too few digits cost), or all.

    Exit status: 0 everybody did everything, 1 somebody failed at something.
    """
    chosen = list(MODES) if "all" in modes else list(dict.fromkeys(modes))
    if path is not None and not path.resolve().parent.is_dir():
        raise click.BadParameter(f"{path.parent}: no such folder", param_hint="--json")
    names = competitors(only)
    with ExitStack() as stack:
        plan = Plan(threads or machine.usable_cores(), Rounds(reps, extra), **choices)
        if NEED_MNIST.intersection(chosen):
            source = mnist_folder(data)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            keep_mnist(source, folder)
            plan = replace(plan, folder=folder)
        session = stack.enter_context(Session(plan.threads, plan.rounds))
        document: dict[str, Any] = {
            "machine": machine.described() | session.libraries(),
            "threads": plan.threads,
            "rounds": asdict(plan.rounds),
            "statistic": plan.statistic,
            "modes": {},
        }
        click.echo("\n".join(heading(document)))
        for mode in chosen:
            click.echo(f"\n## {mode}\n")
            report = MODES[mode](session, names, plan)
            session.end_workers()
            click.echo(report.text)
            document["modes"][mode] = report.rows
            document |= {"quietness": session.watch.summary(), "failures": session.failures}
            if path is not None:  # after each mode, so that an interruption loses little
                write_json(path, document)
        click.echo(f"\n{closing(document['quietness'])}")
        for failure in session.failures:
            click.echo(f"failed: {failure}")
    raise SystemExit(bool(document["failures"]))


def competitors(only: tuple[str, ...] | None) -> list[str]:
    """Return who takes part, in the catalogue's order; the missing are named and left out."""
    wanted = [
        name for name, each in EVERYBODY.items() if (name in only if only else each.by_default)
    ]
    names = []
    for name in wanted:
        missing = EVERYBODY[name].missing()
        if missing:
            click.echo(f"{name} is left out: {missing} is not installed", err=True)
        else:
            names.append(name)
    if not set(names) - {FLOOR} and only != (FLOOR,):
        raise click.ClickException("nobody is left to compare; pip install '.[bench,fast]'")
    return names


def mnist_folder(given: Path | None) -> Path:
    """Return the folder with MNIST's files."""
    root = os.environ.get("GPUNN_DATA")
    folders = [given] if given else [Path(root) / "mnist", Path(root)] if root else []
    for folder in folders:
        if any(folder.glob("train-images-idx3-ubyte*")):
            return folder
    raise click.BadParameter(
        f"MNIST's files are not in {joined(folders) or 'a known place'}; name their folder",
        param_hint="--data",
    )


def heading(document: dict[str, Any]) -> list[str]:
    """Return the lines that say what is measured on."""
    found = document["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    libraries = "; ".join(" ".join(map(str, each.values())) for each in found["libraries"])
    return [
        f"{found['processor']}, {document['threads']} threads of {found['cores']} cores, "
        f"Python {found['python']}",
        packages,
        *([f"NumPy's BLAS: {libraries}"] if libraries else []),
    ]


def closing(quietness: dict[str, Any]) -> str:
    """Return the line that says how quiet it was."""
    speed = quietness["reference_gflops"]
    return (
        f"{quietness['quiet_turns']} of {quietness['turns']} turns were quiet. Reference product: "
        f"{speed['least']:.0f} to {speed['best']:.0f} GFLOP/s, {speed['median']:.0f} in the median."
    )
