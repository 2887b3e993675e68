"""Time epochs of tabular models, and of the PyTorch programs that their authors published."""

import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.figures import table
from benchmarks.published_tables import TABLES, Parts, parts_of, tables_in
from benchmarks.table_models import estimator_of, fitted_by_pytabkit
from benchmarks.tables import in_a_process
from benchmarks.tabm_package import tabm_package

Fit = Callable[[Parts, bool, int], Any]
"""A function that trains on a table for some epochs."""


def gpunn(kind: str, **options: Any) -> Fit:
    return lambda parts, classes, epochs: estimator_of(
        kind, classes, parts, epochs=epochs, random_state=0, batch_size=256, **options
    )


def pytabkit(variant: str) -> Fit:
    return lambda parts, classes, epochs: fitted_by_pytabkit(
        variant, classes, parts, n_epochs=epochs, random_state=0
    )


PAIRS: Mapping[str, Mapping[str, Fit]] = {
    "RealMLP": {"gpunn": gpunn("RealMLP"), "pytabkit": pytabkit("TD")},
    "RealMLP, simplified": {
        "gpunn": gpunn("RealMLP", simplified=True),
        "pytabkit": pytabkit("TD_S"),
    },
    "TabM": {
        "gpunn": gpunn("TabM", patience=10**6),
        "tabm": lambda parts, classes, epochs: tabm_package(parts, classes, 0, epochs),
    },
}


def main(name: str, path: str, network: str, library: str, epochs: int) -> dict[str, Any]:
    """Return the wall-clock and processor seconds of 1 epoch and of `epochs` more epochs."""
    warnings.simplefilter("ignore")
    parts, classes = parts_of(name, Path(path)), TABLES[name].classes
    fit = PAIRS[network][library]
    fit(parts, classes, 1)
    taken = []
    for count in (1, 1 + epochs):
        began = time.perf_counter(), time.process_time()
        fit(parts, classes, count)
        taken.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    wall, cpu = ((more - one) / epochs for one, more in zip(*taken, strict=True))
    return {"rows": len(parts.train[1]), "seconds": wall, "cpu_seconds": cpu}


@click.command("table-epochs", context_settings={"show_default": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", default="dry beans", help="Names of tables, separated by commas.")
@click.option("--networks", default="; ".join(PAIRS), help="Separated by semicolons.")
@click.option("--epochs", type=click.IntRange(1), default=2, help="Number of timed epochs.")
@click.option("--reps", type=click.IntRange(1), default=3, help="Processes of each program.")
@click.option("--threads", type=click.IntRange(1), default=1)
def command(folder: Path, only: str, networks: str, epochs: int, reps: int, threads: int) -> None:
    """Time epochs of RealMLP and TabM in gpunn, pytabkit and the package tabm.

    FOLDER contains the published tables. Batches have 256 rows, and validation rows are predicted
    after each epoch. An epoch's time is the difference between fits of more and fewer epochs.
    """
    lines = []
    for name, path in tables_in(folder, only.split(",")):
        for network in map(str.strip, networks.split(";")):
            runs: dict[str, list[Any]] = {library: [] for library in PAIRS[network]}
            for turn in range(reps):
                for library in list(runs)[:: 1 if turn % 2 else -1]:
                    arguments = name, str(path), network, library, epochs
                    runs[library].append(in_a_process("table_epochs", arguments, threads))
            best = {
                library: {key: statistics.median(each[key] for each in every) for key in every[0]}
                for library, every in runs.items()
            }
            (library, own), (peer, other) = best.items()
            steps = own["rows"] // 256
            lines.append(
                [
                    *(name, network, peer),
                    *(f"{1000 * each['cpu_seconds'] / steps:.2f}" for each in (own, other)),
                    *(f"{each['seconds']:.2f}" for each in (own, other)),
                    f"{other['cpu_seconds'] / own['cpu_seconds']:.2f}",
                    f"{other['seconds'] / own['seconds']:.2f}",
                ]
            )
            click.echo(" | ".join(lines[-1]), err=True)
    head = ["table", "network", "peer", f"CPU ms a step: {library}", "peer"]
    head += ["s an epoch", "peer", "times less CPU", "times as fast"]
    click.echo(table(head, lines))
