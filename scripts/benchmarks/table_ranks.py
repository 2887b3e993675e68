"""What fits on published tables amount to: scores side by side, and ranks."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.figures import table
from benchmarks.published_tables import TABLES

OURS = ("gpunn-tabm", "gpunn-realmlp")
CHOSEN = "gpunn"
"""The one of ours whose validation score is the better one, seed by seed."""

PEERS = ("lightgbm", "xgboost", "catboost", "sklearn-hgb", "sklearn-mlp")
SMALLER_IS_BETTER = ("rmse", "log_loss")

Fits = Mapping[str, Sequence[Mapping[str, Any]]]
"""The fits on one table, by model."""


def sign(score: str) -> int:
    """Return -1 where less is better."""
    return -1 if score in SMALLER_IS_BETTER else 1


def chosen(fits: Fits, score: str) -> list[Mapping[str, Any]]:
    """Return of each seed's fits by our models the one that was better on the validation rows."""
    ours = [fits[name] for name in OURS if fits.get(name)]
    seeds = sorted({fit["seed"] for each in ours for fit in each})
    candidates = ([fit for each in ours for fit in each if fit["seed"] == seed] for seed in seeds)
    return [
        max(those, key=lambda fit: sign(score) * fit["validation"][score]) for those in candidates
    ]


def mean(fits: Sequence[Mapping[str, Any]], score: str) -> float:
    """Return the mean of a score on the test rows."""
    return statistics.mean(fit["test"][score] for fit in fits)


def cell(fits: Sequence[Mapping[str, Any]], score: str) -> str:
    """Return a mean, its standard deviation over the seeds, and the seconds of processor time."""
    if not fits:
        return ""
    values = [fit["test"][score] for fit in fits]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    seconds = statistics.median(fit["cpu_seconds"] for fit in fits)
    return f"{statistics.mean(values):.4f} ± {deviation:.4f} ({seconds:.0f} s)"


def ranks(means: Mapping[str, float], score: str) -> dict[str, float]:
    """Return the rank of each model on a table, 1 for the best; equal ones share theirs."""
    values = {name: round(sign(score) * value, 4) for name, value in means.items()}
    return {
        name: 1
        + sum(other > value for other in values.values())
        + (sum(other == value for other in values.values()) - 1) / 2
        for name, value in values.items()
    }


@click.command("table-ranks")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Print what the fits of `tables --json` amount to.

    FILES hold the fits, of some tables or models each. Our network is the one of the two that was
    better on the validation rows.
    """
    fits: dict[str, dict[str, list[Any]]] = {}
    for file in files:
        for fit in json.loads(file.read_text(encoding="utf-8"))["fits"]:
            fits.setdefault(fit["table"], {}).setdefault(fit["model"], []).append(fit)
    present = [name for name in TABLES if name in fits]
    models = list(dict.fromkeys(model for name in present for model in fits[name]))
    every = [(name, score) for name in present for score in TABLES[name].scores]
    lines = [
        [model, *(cell(fits[name].get(model, []), score) for name, score in every)]
        for model in models
    ]
    click.echo(table(["model", *(f"{name}, {score}" for name, score in every)], lines))

    places: dict[str, list[float]] = {name: [] for name in (CHOSEN, *PEERS)}
    lines = []
    for name in present:
        score = TABLES[name].scores[0]
        means = {model: mean(fits[name][model], score) for model in PEERS if model in fits[name]}
        if not (ours := chosen(fits[name], score)):
            continue
        means[CHOSEN] = mean(ours, score)
        of_table = ranks(means, score)
        for model, place in of_table.items():
            places[model].append(place)
        best = max(means.values(), key=lambda value: sign(score) * value)
        behind = 100 * sign(score) * (best - means[CHOSEN]) / best
        shown = (f"{of_table[model]:g}" if model in of_table else "" for model in places)
        lines.append([name, *shown, f"{means[CHOSEN]:.4f}", f"{best:.4f}", f"{behind:.2f} %"])
    averages = (f"{statistics.mean(each):.2f}" if each else "" for each in places.values())
    lines.append(["mean rank", *averages, "", "", ""])
    click.echo("")
    click.echo(table(["table", *places, "gpunn's", "best", "behind"], lines))
