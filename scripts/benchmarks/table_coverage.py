"""Measure how many prediction intervals and sets contain the truth, on published tables."""

import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.figures import table
from benchmarks.published_tables import TABLES, Parts, parts_of, tables_in, without_dates
from benchmarks.table_models import lightgbm
from benchmarks.tables import in_a_process

INTERVALS, SETS = 0.9, 0.95

QUANTILES = (0.05, 0.5, 0.95)

VARIANTS: dict[str, dict[str, Any]] = {"": {}, "quantiles": {"quantiles": QUANTILES}}

LIGHTGBM = "LightGBM"
"""LightGBM's quantiles bound intervals; the variant "conformal" moves the bounds as gpunn does."""


def main(name: str, path: str, model: str, variant: str, split: int, rows: int) -> dict[str, float]:
    import gpunn.sklearn

    warnings.simplefilter("ignore")
    parts = parts_of(name, Path(path), split)
    (frame, targets), validation, (X, y) = parts
    chosen = np.random.default_rng(0).permutation(len(targets))[:rows]
    parts = parts._replace(train=(frame.iloc[chosen], targets[chosen]))
    if model == LIGHTGBM:
        parts = Parts(*((without_dates(name, frame), y) for frame, y in parts))
        return coverage(*lightgbm_bounds(parts, variant == "conformal"), y)
    classes = TABLES[name].classes
    kind = getattr(gpunn.sklearn, model + ("Classifier" if classes else "Regressor"))
    fitted = kind(backend="numpy", random_state=0, **VARIANTS[variant])
    fitted.fit(*parts.train, X_val=validation[0], y_val=validation[1])
    if classes:
        sets = fitted.predict_sets(X, coverage=SETS)
        truth = np.searchsorted(fitted.classes_, y)
        return {
            "coverage": float(sets[np.arange(len(y)), truth].mean()),
            "size": float(sets.sum(axis=1).mean()),
        }
    return coverage(*fitted.predict(X, interval=INTERVALS)[1:], y)


def coverage(low: np.ndarray, high: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the fraction of the targets in their intervals, and the mean width."""
    inside = (low <= y) & (y <= high)
    return {"coverage": float(inside.mean()), "size": float((high - low).mean())}


def lightgbm_bounds(parts: Parts, conformal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return LightGBM's bounds for the test rows, from one model for each quantile."""
    from gpunn.intervals import bounds, fit_intervals

    models = [
        lightgbm(parts, False, 0, True, objective="quantile", alpha=quantile)
        for quantile in QUANTILES
    ]
    outputs = np.column_stack([model(parts.test[0]) for model in models])
    if not conformal:
        return outputs[:, 0], outputs[:, -1]
    held = np.column_stack([model(parts.validation[0]) for model in models])
    intervals = fit_intervals(held, parts.validation[1], quantiles=QUANTILES)
    ((_, low, high),) = bounds(outputs.T, intervals, round(100 * INTERVALS))
    return low, high


@click.command("table-coverage", context_settings={"show_default": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", help="Tables, separated by commas. Default: all.")
@click.option("--models", default=f"RealMLP,TabM,{LIGHTGBM}", help="Models, separated by commas.")
@click.option("--splits", type=click.IntRange(1), default=1, help="Number of random splits.")
@click.option("--rows", type=click.IntRange(1), default=3000, help="Training rows, at most.")
@click.option("--threads", type=click.IntRange(1), default=1)
def command(
    folder: Path, only: str | None, models: str, splits: int, rows: int, threads: int
) -> None:
    """Measure prediction intervals of 90 % and prediction sets of 95 % on published tables.

    The models are RealMLP, TabM, both (Tabular) or, for numbers, quantiles of LightGBM. The last
    column is the mean width of an interval, in the target's standard deviations or logarithms, or
    the mean number of classes.
    """
    lines = []
    for name, file in tables_in(folder, only.split(",") if only else None):
        classes = TABLES[name].classes
        for model in models.split(","):
            variants = [""] if classes else list(VARIANTS)
            if model == LIGHTGBM:
                variants = [] if classes else ["quantiles", "conformal"]
            for variant in variants:
                for split in range(splits):
                    arguments = name, str(file), model, variant, split, rows
                    result = in_a_process("table_coverage", arguments, threads)
                    figures = f"{100 * result['coverage']:.1f}", f"{result['size']:.3f}"
                    lines.append([name, f"{model} {variant}".strip(), str(split), *figures])
                    click.echo(" | ".join(lines[-1]), err=True)
    click.echo(table(["table", "model", "split", "coverage, %", "width or classes"], lines))
