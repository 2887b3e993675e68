"""Compare tabular models with boosted trees and other networks, on published tables.

Every model gets the raw frame, without tuning. 64 % of the rows are for training, 16 % for
validation, 20 % for testing. Each fit has its own process, one after the other.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import machine
from benchmarks.figures import table
from benchmarks.published_tables import FILES, TABLES, tables_in
from benchmarks.session import FailedError
from benchmarks.table_models import MODELS

THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GPUNN_THREADS"),
    "LOKY_MAX_CPU_COUNT",
)


def in_a_process(module: str, arguments: tuple[object, ...], threads: int) -> dict[str, Any]:
    code = f"print(json.dumps(main(*{arguments!r})))"
    done = subprocess.run(
        [sys.executable, "-c", f"import json; from benchmarks.{module} import main; {code}"],
        env={
            **os.environ,
            **dict.fromkeys(THREADS, str(threads)),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FailedError(done.stderr.strip() or f"exit status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def summary(fits: Sequence[Mapping[str, Any]], score: str) -> str:
    values = [one["test"][score] for one in fits]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


@click.command("tables", context_settings={"show_default": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seeds", type=click.IntRange(1), default=3)
@click.option(
    "--rows",
    type=click.IntRange(10),
    help="Train and validate on this number of rows, which each seed draws.",
)
@click.option("--splits", is_flag=True, help="Seed s also draws the split, with the seed 100 + s.")
@click.option("--only", help=f"Tables, separated by commas. Default: {FILES}.")
@click.option("--models", default=",".join(MODELS), help="Names of models, separated by commas.")
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1)
@click.option(
    "--json", "path", type=click.Path(path_type=Path), help="Write every fit to this file."
)
def command(
    folder: Path,
    seeds: int,
    rows: int | None,
    splits: bool,
    only: str | None,
    models: str,
    threads: int,
    path: Path | None,
) -> None:
    """Compare tabular models with boosted trees and other networks, on published tables.

    FOLDER contains the published tables, directly or in tables/. Missing ones are left out, with a
    notice.
    """
    wanted = models.split(",")
    if unknown := sorted({*wanted} - {*MODELS}):
        raise click.BadParameter(
            f"unknown name {', '.join(unknown)}; choose from: {', '.join(MODELS)}"
        )
    document: dict[str, Any] = {"machine": machine.described(), "threads": threads, "fits": []}
    lines = []
    for name, file in tables_in(folder, only.split(",") if only else None):
        for model in wanted:
            fits = []
            for seed in range(seeds):
                arguments = name, str(file), model, seed, rows, 100 + seed if splits else 0
                try:
                    fit = in_a_process("table_models", arguments, threads)
                except FailedError as error:  # the model failed
                    click.echo(f"{name}, {model}: {str(error).splitlines()[-1]}", err=True)
                    break
                fits.append(fit)
                document["fits"].append({"table": name, "model": model, "seed": seed, **fit})
                if path is not None:
                    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            if not fits:
                continue
            for score in TABLES[name].scores:
                medians = (
                    statistics.median(one[key] for one in fits)
                    for key in ("cpu_seconds", "seconds", "peak_mib")
                )
                figures = [f"{each:.1f}" for each in medians]
                lines.append([name, score, model, summary(fits, score), *figures])
                click.echo(" | ".join(lines[-1]), err=True)
    head = ["table", "score", "model", "mean ± sd", "CPU s", "s", "peak MiB"]
    click.echo(table(head, lines))
