"""Measure how many prediction intervals and sets contain the truth, on published tables."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.figures import table
from benchmarks.published_tables import TABLES, parts_of, tables_in
from benchmarks.tables import in_a_process

TRAINING_ROWS = 3000

INTERVALS, SETS = 0.9, 0.95

VARIANTS: dict[str, dict[str, Any]] = {"": {}, "quantiles": {"quantiles": (0.05, 0.5, 0.95)}}


def main(name: str, path: str, model: str, variant: str, seed: int) -> dict[str, float]:
    import gpunn.sklearn

    warnings.simplefilter("ignore")
    training, _, (X, y) = parts_of(name, Path(path))
    chosen = np.random.default_rng(seed).permutation(len(training[1]))[:TRAINING_ROWS]
    classes = TABLES[name].classes
    kind = getattr(gpunn.sklearn, model + ("Classifier" if classes else "Regressor"))
    fitted = kind(backend="numpy", random_state=seed, **VARIANTS[variant])
    fitted.fit(training[0].iloc[chosen], training[1][chosen])
    if classes:
        sets = fitted.predict_sets(X, coverage=SETS)
        truth = np.searchsorted(fitted.classes_, y)
        return {
            "coverage": float(sets[np.arange(len(y)), truth].mean()),
            "size": float(sets.sum(axis=1).mean()),
        }
    _, low, high = fitted.predict(X, interval=INTERVALS)
    return {
        "coverage": float(((low <= y) & (y <= high)).mean()),
        "size": float((high - low).mean()),
    }


@click.command("table-coverage", context_settings={"show_default": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", help="Tables, separated by commas. Default: all.")
@click.option("--seeds", type=click.IntRange(1), default=1)
@click.option("--threads", type=click.IntRange(1), default=1)
def command(folder: Path, only: str | None, seeds: int, threads: int) -> None:
    """Measure prediction intervals of 90 % and prediction sets of 95 % on published tables.

    RealMLP and TabM are trained on up to 3,000 rows. The last column is the mean width of an
    interval, in the target's standard deviations or logarithms, or the mean number of classes.
    """
    lines = []
    for name, file in tables_in(folder, only.split(",") if only else None):
        variants = [""] if TABLES[name].classes else list(VARIANTS)
        for model in ("RealMLP", "TabM"):
            for variant in variants:
                for seed in range(seeds):
                    arguments = name, str(file), model, variant, seed
                    result = in_a_process("table_coverage", arguments, threads)
                    figures = f"{100 * result['coverage']:.1f}", f"{result['size']:.3f}"
                    lines.append([name, f"{model} {variant}".strip(), str(seed), *figures])
                    click.echo(" | ".join(lines[-1]), err=True)
    click.echo(table(["table", "model", "seed", "coverage, %", "width or classes"], lines))
