"""The options of the comparing subcommands, and the code they share."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks import machine
from benchmarks.competitors import EVERYBODY, FLOOR, TRAINERS
from benchmarks.figures import Figure, comparison, means
from benchmarks.mnist import mnist_folder, prepared_mnist
from benchmarks.session import Session
from benchmarks.work import GRID_BATCHES, GRID_RATES, GRID_SIZES, MNIST_TASKS

Names = Sequence[str]
"""Names of competitors or tasks."""


def listed(convert: Callable[[str], Any]) -> Callable[..., Any]:
    def callback(context: click.Context, option: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else [convert(item) for item in text.split(",")]
        except ValueError as error:
            raise click.BadParameter(f"{text!r}: {error}") from None

    return callback


def net(text: str) -> tuple[int, ...]:
    widths = tuple(map(positive, text.split("-")))
    if len(widths) < 2:
        raise ValueError(f"{text}: expected widths such as 784-128-10")
    return widths


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError(f"{text}: expected a positive integer")
    return int(text)


def one_of(choices: Mapping[str, Any]) -> Callable[[str], Any]:
    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError(f"unknown name {text!r}; choose from: {', '.join(choices)}")
        return text

    return convert


BY_NAME_ONLY = " and ".join(name for name, each in EVERYBODY.items() if not each.by_default)
OF_ALL = (
    click.option(
        "--only",
        callback=listed(one_of(EVERYBODY)),
        help=f"Competitors: {', '.join(EVERYBODY)}. Default: all installed ones, except "
        f"{BY_NAME_ONLY}.",
    ),
    click.option(
        "--reps", type=click.IntRange(1), default=3, help="Turns per competitor and cell."
    ),
    click.option(
        "--extra", type=click.IntRange(0), default=2, help="Extra turns if all were disturbed."
    ),
    click.option(
        "--threads",
        type=click.IntRange(1),
        help="Threads of each competitor. Default: the usable cores.",
    ),
    click.option(
        "--json",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write every result to this file, with the samples of each turn.",
    ),
)
SIZES = click.option(
    "--sizes",
    callback=listed(net),
    default=",".join("-".join(map(str, sizes)) for sizes in GRID_SIZES),
    help="Networks.",
)
BATCHES = click.option(
    "--batches", callback=listed(positive), default=",".join(map(str, GRID_BATCHES))
)
OPTIMIZERS = click.option(
    "--optimizers", callback=listed(one_of(GRID_RATES)), default=",".join(GRID_RATES)
)
SECONDS = click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=0.3, help="Length of a turn."
)
TASKS = click.option(
    "--tasks",
    callback=listed(one_of(MNIST_TASKS)),
    default=",".join(MNIST_TASKS),
    help="; ".join(f"{number} is {task}" for number, task in MNIST_TASKS.items()) + ".",
)
DATA = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with MNIST's four IDX files. Default: mnist in GPUNN_DATA, or GPUNN_DATA.",
)


def subcommand(name: str, *options: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function that returns figures; for --data, it gets MNIST's `folder`."""

    def decorate(measure: Callable[..., Sequence[Figure]]) -> click.Command:
        @functools.wraps(measure)
        def run(
            only: list[str] | None,
            reps: int,
            extra: int,
            threads: int | None,
            path: Path | None,
            **choices: Any,
        ) -> None:
            if path is not None and not path.resolve().parent.is_dir():
                raise click.BadParameter(f"{path.parent}: no such folder", param_hint="--json")
            names, context = competitors(only), click.get_current_context()
            if "data" in choices:
                source = mnist_folder(choices.pop("data"))
                choices["folder"] = context.with_resource(prepared_mnist(source))
            session = Session(threads or machine.usable_cores(), reps, extra)
            with session:
                document = machine.described() | {"libraries": session.libraries()}
                click.echo("\n".join(f"{key}: {value}" for key, value in document.items()))
                results = measure(session, names, **choices)
            click.echo(f"\n{comparison(results)}\n")
            if name in ("grid", "realistic"):
                click.echo(f"{means(results)}\n")
            click.echo(session.summary())
            if path is not None:
                document = {
                    "machine": document,
                    "threads": session.threads,
                    "references": session.references,
                    "fma_peaks": session.peaks,
                    "failures": session.failures,
                    "modes": {name: [asdict(each) for each in results]},
                }
                path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            context.exit(bool(session.failures))

        for option in reversed((*options, *OF_ALL)):
            run = option(run)
        return click.command(name)(run)

    return decorate


def competitors(only: list[str] | None) -> list[str]:
    names = []
    for name, each in EVERYBODY.items():
        if name in only if only else each.by_default:
            if each.missing():
                click.echo(f"{name} is left out: {each.missing()} is not installed", err=True)
            else:
                names.append(name)
    if not set(names) - {FLOOR} and only != [FLOOR]:
        raise click.ClickException("no competitor is installed; pip install '.[bench,fast]'")
    return names


def trainers(names: Names) -> list[str]:
    return [name for name in names if name in TRAINERS]
