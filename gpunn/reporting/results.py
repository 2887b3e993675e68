"""Charts, tables and images of a trained network's predictions and errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.reporting.charts import LARGEST_DRAWN, Chart, bars, heat_map, scatter
from gpunn.reporting.findings import Classes, Findings, Labels, Numbers
from gpunn.reporting.images import sample_image
from gpunn.reporting.probabilities import probability_charts
from gpunn.reporting.text import SPACE, number_text

LARGEST_MATRIX = 40

WORST = 24

OUTPUTS = 4


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class Image:
    source: str
    alternative: str
    caption: str = ""


@dataclass(frozen=True)
class Results:
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    worst: list[Image] = field(default_factory=list)
    wrong: int = 0


def results(findings: Findings, key: str) -> Results:
    outcome = findings.outcome
    if isinstance(outcome, Classes):
        return classes(findings, outcome, key)
    if isinstance(outcome, Labels):
        charts = probability_charts(outcome.scores, findings.split, key)
        return Results(charts, [labels(outcome, findings.split)])
    return numbers(outcome, findings.split, key)


def classes(findings: Findings, outcome: Classes, key: str) -> Results:
    wrong = np.flatnonzero(outcome.truth != outcome.predicted)
    shown = wrong[np.argsort(-outcome.confidence[wrong], kind="stable")][:WORST]
    content = Results(wrong=len(wrong))
    if len(outcome.names) <= LARGEST_MATRIX:
        content.charts.append(confusion_matrix(outcome, findings.split, key))
    content.charts.extend(probability_charts(outcome.scores, findings.split, key))
    content.tables.append(by_class(outcome))
    if len(outcome.names) > LARGEST_MATRIX and len(wrong):
        columns, pairs = ("true", "predicted", "rows"), worst_pairs(outcome, 20)
        content.tables.append(Table("Most confused classes", columns, pairs))
    if findings.pixels is not None:
        content.worst.extend(images(findings, outcome, shown))
    elif len(wrong):
        unit, numbers = "row", shown
        source = f"rows of the {findings.split} split, counted from 0"
        if (table := findings.table) is not None:
            unit, source = table.unit, f"{table.unit}s of {Path(table.title).name}"
            numbers = shown if table.numbers is None else table.numbers[shown]
        content.tables.append(
            Table(
                "Most confidently wrong",
                (unit, "true", "predicted", "probability"),
                [
                    (int(number), *verdict(outcome, row))
                    for number, row in zip(numbers, shown, strict=True)
                ],
                f"Wrong predictions: {len(wrong):,}. The table shows {len(shown):,}, the most "
                f"confident first ({source}).",
            )
        )
    return content


def verdict(outcome: Classes, row: int) -> tuple[str, str, str]:
    return (
        outcome.names[outcome.truth[row]],
        outcome.names[outcome.predicted[row]],
        f"{100 * outcome.confidence[row]:.1f}{SPACE}%",
    )


def confusion_matrix(outcome: Classes, split: str, key: str) -> Chart:
    counts = outcome.confusion
    right, rows = int(np.trace(counts)), len(outcome.truth)
    description = (
        f"Confusion matrix of {len(outcome.names)} classes on {rows:,} rows: {right:,} right, "
        f"{rows - right:,} wrong."
    )
    if pairs := worst_pairs(outcome, 3):
        description += " Most often " + ", ".join(
            f"{true} was predicted as {predicted} ({count} times)"
            for true, predicted, count in pairs
        )
        description += "."
    return heat_map(
        f"{key}-confusion",
        "Confusion matrix",
        counts,
        outcome.names,
        description=description,
        note=f"Rows of the {split} split. Errors have a separate color scale.",
    )


def worst_pairs(outcome: Classes, limit: int) -> list[tuple[str, str, int]]:
    wrong = outcome.truth != outcome.predicted
    pairs = outcome.truth[wrong] * len(outcome.names) + outcome.predicted[wrong]
    codes, counts = np.unique(pairs, return_counts=True)
    worst = np.argsort(-counts, kind="stable")[:limit]
    return [
        (outcome.names[true], outcome.names[predicted], count)
        for code, count in zip(codes[worst].tolist(), counts[worst].tolist(), strict=True)
        for true, predicted in [divmod(code, len(outcome.names))]
    ]


def by_class(outcome: Classes) -> Table:
    right = outcome.truth[outcome.truth == outcome.predicted]
    hits, truth, predicted = (  # without a matrix, which is too large for many classes
        np.bincount(codes, minlength=len(outcome.names))
        for codes in (right, outcome.truth, outcome.predicted)
    )
    with np.errstate(invalid="ignore"):
        metrics = hits / predicted, hits / truth, 2 * hits / (truth + predicted)
    rows = counted(outcome.names, truth, metrics)
    return Table(
        "By class",
        ("class", "rows", "precision", "recall", "F1"),
        rows,
        "Precision: the fraction of correct predictions among rows that are predicted as the "
        "class. Recall: the fraction of correct predictions among rows that are in the class.",
    )


def counted(names: Sequence[Any], rows: np.ndarray, fractions: Sequence[np.ndarray]) -> list[Any]:
    return [
        (name, number_text(int(rows[index])), *(percent(each[index]) for each in fractions))
        for index, name in enumerate(names)
    ]


def percent(fraction: float) -> str:
    return "–" if np.isnan(fraction) else f"{100 * fraction:.1f}{SPACE}%"


def images(findings: Findings, outcome: Classes, rows: np.ndarray) -> list[Image]:
    assert findings.pixels is not None
    assert findings.X is not None
    if not len(rows):
        return []
    low, high = float(findings.X.min()), float(findings.X.max())
    shown = []
    for row in rows:
        true, predicted, probability = verdict(outcome, row)
        shown.append(
            Image(
                sample_image(np.reshape(findings.X[row], findings.pixels), low, high),
                f"Row {row}: {true}, predicted as {predicted} with probability {probability}",
                f"{true} → {predicted}, {probability}",
            )
        )
    return shown


def labels(outcome: Labels, split: str) -> Table:
    right = np.mean(outcome.truth == outcome.predicted, axis=0)
    cases = (outcome.truth & outcome.predicted, outcome.truth, outcome.predicted)
    hits, truth, predicted = (np.sum(each, axis=0) for each in cases)
    with np.errstate(invalid="ignore"):
        metrics = right, hits / predicted, hits / truth
    rows = counted(outcome.names or range(len(right)), truth, metrics)
    columns = ("output", "positive rows", "accuracy", "precision", "recall")
    return Table(
        "By output", columns, rows, f"Computed on {len(outcome.truth):,} rows of the {split} split."
    )


def numbers(outcome: Numbers, split: str, key: str) -> Results:
    content, rows = Results(), []
    outputs = outcome.truth.shape[1]
    drawn = True
    names = outcome.names or [f"output {index}" for index in range(outputs)]
    for index in range(outputs):
        truth, predicted = outcome.truth[:, index], outcome.predicted[:, index]
        largest = max(np.abs(truth).max(), np.abs(predicted).max())
        with np.errstate(over="ignore", invalid="ignore"):  # the table shows infinity and NaN
            residual = predicted - truth
            metrics = error_metrics(truth, residual)
        rows.append(
            (outcome.names[index] if outcome.names else index, *map(number_text, metrics.values()))
        )
        if index < OUTPUTS and not largest <= LARGEST_DRAWN:
            drawn = False
        elif index < OUTPUTS:
            name = f", {names[index]}" if outputs > 1 else ""
            chart_key = f"{key}-output-{index}"
            content.charts.extend(number_charts(chart_key, name, truth, predicted, metrics, split))
    note = f"Computed on {len(outcome.truth):,} rows of the {split} split."
    if outputs > OUTPUTS:
        note += f" Charts show the first {OUTPUTS} outputs."
    if not drawn:
        note += f" Outputs with numbers above {LARGEST_DRAWN:g} have no charts."
    columns = ("output", "RMSE", "mean absolute error", "mean residual", "R²")
    content.tables.append(Table("By output", columns, rows, note))
    return content


def error_metrics(truth: np.ndarray, residual: np.ndarray) -> dict[str, float]:
    spread = float(np.sum((truth - truth.mean()) ** 2))
    return {
        "RMSE": float(np.sqrt(np.mean(residual**2))),
        "mean absolute error": float(np.mean(np.abs(residual))),
        "mean residual": float(np.mean(residual)),
        "R²": 1 - float(np.sum(residual**2)) / spread if spread else float("nan"),
    }


def number_charts(
    key: str,
    name: str,
    truth: np.ndarray,
    predicted: np.ndarray,
    metrics: dict[str, float],
    split: str,
) -> list[Chart]:
    residual = predicted - truth
    summary = ", ".join(f"{name} {number_text(value)}" for name, value in metrics.items())
    counts, edges = histogram(residual)
    peak = int(counts.argmax())
    return [
        scatter(
            f"{key}-predicted",
            f"Predicted against true{name}",
            truth,
            predicted,
            labels=("true", "predicted"),
            reference="diagonal",
            description=f"Scatter plot of {len(truth):,} rows of the {split} split: {summary}. For "
            "perfect predictions, all points are on the diagonal.",
            note=f"On the {split} split. For perfect predictions, all points are on the diagonal.",
        ),
        scatter(
            f"{key}-residuals",
            f"Residuals{name}",
            predicted,
            residual,
            labels=("predicted", "predicted − true"),
            reference="zero",
            description="Scatter plot of residuals against predictions: residuals from "
            f"{residual.min():.4g} to {residual.max():.4g}, mean {metrics['mean residual']:.4g}.",
            note="A visible pattern shows structure that the network has not learned.",
        ),
        bars(
            f"{key}-histogram",
            f"Distribution of residuals{name}",
            edges,
            counts,
            label="predicted − true",
            description=f"Histogram of {len(residual):,} residuals; the largest bin has "
            f"{counts[peak]:,}, from {edges[peak]:.4g} to {edges[peak + 1]:.4g}.",
        ),
    ]


def histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = float(values.min()), float(values.max())
    minimum = 1e-6 * max(abs(low), abs(high)) or 1.0
    pad = max(0.0, minimum - (high - low)) / 2
    bins = min(40, max(8, round(len(values) ** 0.5)))
    return np.histogram(values, bins=bins, range=(low - pad, high + pad))
