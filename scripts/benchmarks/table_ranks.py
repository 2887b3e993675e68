"""Scores and ranks of the fits on published tables."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.figures import table
from benchmarks.machine import installed_bytes
from benchmarks.published_tables import TABLES
from benchmarks.tables import summary

RANKED = {
    "gpunn": ("gpunn-tabm", "gpunn-realmlp"),
    "LightGBM": ("lightgbm", "lightgbm-early"),
    "XGBoost": ("xgboost", "xgboost-early"),
    "CatBoost": ("catboost", "catboost-early"),
    "HistGradientBoosting": ("sklearn-hgb",),
    "scikit-learn's MLP": ("sklearn-mlp",),
}
"""The ranked libraries; for each seed, the model that is better on the validation rows counts."""

WITHOUT_ARGUMENTS = {name: models[: 2 if name == "gpunn" else 1] for name, models in RANKED.items()}
"""The same without early stopping of trees, which is not their default."""

EARLY = {
    "gpunn": ("gpunn-pair",),
    "LightGBM": ("lightgbm-early",),
    "XGBoost": ("xgboost-early",),
    "CatBoost": ("catboost-early",),
    "HistGradientBoosting": ("sklearn-hgb",),
}
"""gpunn's ensemble of both models without arguments, and trees that all stop early."""

TIMED = EARLY | {"gpunn": ("gpunn-10m",)}
"""The same with gpunn's ensemble of ten minutes."""

RANKINGS = (WITHOUT_ARGUMENTS, RANKED, EARLY, TIMED)

DISTRIBUTIONS = (
    *("lightgbm", "lightgbm[scikit-learn]", "xgboost", "catboost", "scikit-learn"),
    *("pytabkit", "tabm"),
)
"""The packages of the peers. The subcommand `wheel` measures gpunn's wheel instead."""

SMALLER_IS_BETTER = ("rmse", "log_loss", "calibration_error")

Fits = Mapping[str, Sequence[Mapping[str, Any]]]
"""The fits on one table, by model."""


def sign(score: str) -> int:
    return -1 if score in SMALLER_IS_BETTER else 1


def chosen(fits: Fits, models: Sequence[str], score: str) -> list[Mapping[str, Any]]:
    """Return for each seed the fit that is better on the validation rows."""
    those = [fit for model in models for fit in fits.get(model, [])]
    return [
        max(
            (fit for fit in those if fit["seed"] == seed),
            key=lambda fit: sign(score) * fit["validation"][score],
        )
        for seed in sorted({fit["seed"] for fit in those})
    ]


def mean(fits: Sequence[Mapping[str, Any]], score: str) -> float:
    return statistics.mean(fit["test"][score] for fit in fits)


def cell(fits: Sequence[Mapping[str, Any]], score: str) -> str:
    if not fits:
        return ""
    seconds = statistics.median(fit["cpu_seconds"] for fit in fits)
    return f"{summary(fits, score)} ({len(fits)}; {seconds:.0f} s)"


def ranks(means: Mapping[str, float], score: str) -> dict[str, float]:
    """Return the rank of each model on a table, 1 for the best; equal models share a rank."""
    values = {name: round(sign(score) * value, 4) for name, value in means.items()}
    return {
        name: 1
        + sum(other > value for other in values.values())
        + (sum(other == value for other in values.values()) - 1) / 2
        for name, value in values.items()
    }


def ranking(fits: Mapping[str, Fits], ranked: Mapping[str, Sequence[str]], score: str) -> str:
    ranks_of: dict[str, list[float]] = {name: [] for name in ranked}
    lines = []
    for name, of_table in fits.items():
        if score not in TABLES[name].scores:
            continue
        fits_of = {who: chosen(of_table, models, score) for who, models in ranked.items()}
        if missing := [who for who, each in fits_of.items() if not each]:
            absent = ", ".join(missing)
            click.echo(f"{score}: {name} is not ranked: it has no fits of {absent}", err=True)
            continue
        means = {who: mean(each, score) for who, each in fits_of.items()}
        of_all = ranks(means, score)
        for who, rank in of_all.items():
            ranks_of[who].append(rank)
        best, own = max(means.values(), key=lambda value: sign(score) * value), means["gpunn"]
        behind = max(0.0, 100 * sign(score) * (best - own) / best)
        shown = (f"{rank:g}" for rank in of_all.values())
        lines.append([name, *shown, f"{own:.4f}", f"{best:.4f}", f"{behind:.2f} %"])
    averages = (f"{statistics.mean(each):.2f}" if each else "" for each in ranks_of.values())
    lines.append(["mean rank", *averages, "", "", ""])
    return table(["table", *ranked, "gpunn's", "best", "behind"], lines)


@click.command("table-ranks")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Print scores and ranks of the fits of `tables --json`.

    FILES contain the fits, each of some tables or models. gpunn's entry is the better of its two
    models on the validation rows. In the second ranking, trees may also stop early on these rows.
    In the last two, they always do, and gpunn's entry is an ensemble of both models.
    """
    fits: dict[str, dict[str, dict[int, Any]]] = {}
    for file in files:
        for fit in json.loads(file.read_text(encoding="utf-8"))["fits"]:
            fits.setdefault(fit["table"], {}).setdefault(fit["model"], {})[fit["seed"]] = fit
    every = {
        name: {model: list(seeds.values()) for model, seeds in fits[name].items()}
        for name in TABLES
        if name in fits
    }
    models = dict.fromkeys(model for of_table in every.values() for model in of_table)
    columns = [(name, score) for name in every for score in TABLES[name].scores]
    lines = [
        [model, *(cell(every[name].get(model, []), score) for name, score in columns)]
        for model in models
    ]
    click.echo(table(["model", *(f"{name}, {score}" for name, score in columns)], lines))
    sizes = {name: installed_bytes([name]) / 1e6 for name in DISTRIBUTIONS}
    rows = [[name, f"{size:.0f}"] for name, size in sizes.items() if size]
    click.echo(f"\n{table(['installed', 'MB'], rows)}")
    for ranked in (each for each in RANKINGS if not models.keys().isdisjoint(each["gpunn"])):
        models_of_gpunn = ", ".join(ranked["gpunn"])
        for score in dict.fromkeys(score for name in every for score in TABLES[name].scores):
            click.echo(f"\n{score}, {models_of_gpunn}\n\n{ranking(every, ranked, score)}")
