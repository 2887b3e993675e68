"""The quality of probabilities: ROC, precision-recall and calibration curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.reporting.charts import COLORS, MUTED, Chart, Line, drawn, evenly, thinned
from gpunn.reporting.text import number_text

BINS = 10

ERROR_BINS = 15
"""Number of bins of equal width for the calibration error, as in Guo et al. 2017."""

DRAWS = 1000
"""How often the calibration error of perfect probabilities is drawn at random."""

LISTED = 100


@dataclass(frozen=True)
class Scores:
    name: str
    truth: np.ndarray
    probability: np.ndarray


Curve = tuple[np.ndarray, np.ndarray]


def positive_counts(scores: Scores) -> Curve:
    """Return the counts of false and of true positives by threshold, highest threshold first."""
    order = np.argsort(-scores.probability, kind="stable")
    probability, truth = scores.probability[order], scores.truth[order]
    last = np.append(np.flatnonzero(np.diff(probability)), len(truth) - 1)
    right = np.cumsum(truth)[last]
    return last + 1 - right, right


def roc(scores: Scores) -> tuple[Curve, float]:
    wrong, right = (np.append(0, counts) for counts in positive_counts(scores))
    across, up = wrong / wrong[-1], right / right[-1]
    return (across, up), float(np.trapezoid(up, across))


def precision_recall(scores: Scores) -> tuple[Curve, float]:
    # The average precision sums, over all thresholds, the precision times the rise of the recall.
    wrong, right = positive_counts(scores)
    recall, precision = right / right[-1], right / (right + wrong)
    return (recall, precision), float(np.sum(np.diff(recall, prepend=0) * precision))


def calibration(scores: Scores) -> tuple[Curve, np.ndarray]:
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], scores.probability)
    rows = np.bincount(bins, minlength=BINS)
    filled = rows > 0
    mean, share = (
        np.bincount(bins, values, BINS)[filled] / rows[filled]
        for values in (scores.probability, scores.truth)
    )
    return (mean, share), rows[filled]


def calibration_error(scores: Scores) -> tuple[float, float]:
    # The error of a bin is |mean probability - fraction of rows in the class|; its mean over the
    # bins is weighted by their rows. In a bin of perfect probabilities p_i, the sum of all (t_i -
    # p_i) is about normal, with the variance sum_i p_i (1 - p_i). The 95th percentile is computed
    # from random errors with this distribution.
    p, rows = scores.probability.astype(np.float64), len(scores.truth)
    bins = np.searchsorted(np.linspace(0, 1, ERROR_BINS + 1)[1:-1], p)
    sums = np.bincount(bins, scores.truth - p, ERROR_BINS)
    deviations = np.sqrt(np.bincount(bins, p * (1 - p), ERROR_BINS))
    random = np.abs(np.random.default_rng(0).normal(size=(DRAWS, ERROR_BINS))) @ deviations
    return float(np.abs(sums).sum() / rows), float(np.quantile(random, 0.95) / rows)


def probability_charts(every: Sequence[Scores], split: str, key: str) -> list[Chart]:
    shown = [each for each in every if 0 < each.truth.sum() < len(each.truth)]
    if not shown or len(every) > len(COLORS):
        return []
    rates, areas = zip(*map(roc, shown), strict=True)
    precisions, averages = zip(*map(precision_recall, shown), strict=True)
    bins, rows = zip(*map(calibration, shown), strict=True)
    errors, limits = zip(*map(calibration_error, shown), strict=True)
    chance = ", ".join(map(number_text, limits))
    shares = ", ".join(number_text(float(each.truth.mean())) for each in shown)
    split = f"Computed on the {split} split"
    return [
        chart(
            (f"{key}-roc", "ROC curve"),
            shown,
            rates,
            ("false positive rate", "true positive rate"),
            scores=("area", areas),
            note=f"{split}. The area under the curve of random scores is 0.5.",
            diagonal=True,
        ),
        chart(
            (f"{key}-precision-recall", "Precision-recall curve"),
            shown,
            precisions,
            ("recall", "precision"),
            scores=("average precision", averages),
            note=f"{split}. Random scores have a precision equal to the fraction of "
            f"positives: {shares}.",
        ),
        chart(
            (f"{key}-calibration", "Calibration"),
            shown,
            bins,
            ("mean probability", "fraction of positives"),
            scores=("calibration error", errors),
            counts=rows,
            note=f"{split}, in {BINS} bins of probability. Points above the line show "
            "probabilities that are too low. The calibration error is computed with "
            f"{ERROR_BINS} bins. If all probabilities were perfect, this error would be "
            f"below {chance} in 95 % of cases.",
            diagonal=True,
        ),
    ]


def chart(
    named: tuple[str, str],
    shown: Sequence[Scores],
    curves: Sequence[Curve],
    labels: tuple[str, str],
    *,
    note: str,
    scores: tuple[str, Sequence[float]],
    counts: Sequence[np.ndarray] | None = None,
    diagonal: bool = False,
) -> Chart:
    # With `counts`, the number of rows of each point, each point is drawn as a dot.
    (key, title), (across, up) = named, labels
    names = [f"{each.name}, {value:.4f}" for each, value in zip(shown, scores[1], strict=True)]
    series = [
        Line(name, x.tolist(), y.tolist(), color)
        for color, (name, (x, y)) in enumerate(zip(names, curves, strict=True))
    ]

    def draw(axes: Any) -> None:
        if diagonal:
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9)
        style = "-" if counts is None else "o-"
        for number, line in enumerate(thinned(each, ()) for each in series):
            color, gid = COLORS[line.color], f"series-{number}"
            axes.plot(line.x, line.y, style, color=color, markersize=4.5, gid=gid)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(across)
        axes.set_ylabel(up)

    rows = [
        (line.name, line.x[k], line.y[k], *(() if counts is None else (float(counts[number][k]),)))
        for number, line in enumerate(series)
        for k in evenly(len(line.x), LISTED).tolist()
    ]
    return Chart(
        key,
        title,
        f"Line chart of {up} by {across}: {'; '.join(names)}.",
        drawn(key, draw),
        ("curve", *labels, *(() if counts is None else ("rows",))),
        rows,
        tuple(series),
        f"{scores[0].capitalize()}: {'; '.join(names)}. {note}",
    )
