"""How good probabilities are: whom they rank first, and whether they come true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.reporting.charts import COLOURS, Chart, Line, unit_square
from gpunn.reporting.text import number_text

__all__ = ["Scores", "calibration", "precision_recall", "probability_charts", "roc"]

BINS = 10
"""Of equal width, in a calibration curve."""

LISTED = 100
"""Most points of a curve in its table."""


@dataclass(frozen=True)
class Scores:
    """Probabilities of yes beside the truth, shape (rows,): of a class or a label, by its name."""

    name: str
    truth: np.ndarray
    probability: np.ndarray


Curve = tuple[np.ndarray, np.ndarray]


def hits(scores: Scores) -> Curve:
    """Return rows that are wrongly and rightly taken for yes, at each threshold from the highest.

    Equal probabilities are on the same side of each threshold.
    """
    order = np.argsort(-scores.probability, kind="stable")
    probability, truth = scores.probability[order], scores.truth[order]
    last = np.append(np.flatnonzero(np.diff(probability)), len(truth) - 1)
    right = np.cumsum(truth)[last]
    return last + 1 - right, right


def roc(scores: Scores) -> tuple[Curve, float]:
    """Return false and true positive rates from (0, 0) to (1, 1), and the area below."""
    wrong, right = (np.append(0, counts) for counts in hits(scores))
    across, up = wrong / wrong[-1], right / right[-1]
    return (across, up), float(np.trapezoid(up, across))


def precision_recall(scores: Scores) -> tuple[Curve, float]:
    """Return recalls and precisions at each threshold, and the average precision.

    That is the sum of precisions, each times the rise of the recall.
    """
    wrong, right = hits(scores)
    recall, precision = right / right[-1], right / (right + wrong)
    return (recall, precision), float(np.sum(np.diff(recall, prepend=0) * precision))


def calibration(scores: Scores) -> tuple[Curve, np.ndarray]:
    """Return mean probabilities and shares of yes, by bins of probability, and their rows."""
    places = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], scores.probability)
    rows = np.bincount(places, minlength=BINS)
    filled = rows > 0
    mean, share = (
        np.bincount(places, values, BINS)[filled] / rows[filled]
        for values in (scores.probability, scores.truth)
    )
    return (mean, share), rows[filled]


def probability_charts(every: Sequence[Scores], part: str, key: str) -> list[Chart]:
    """Return ROC, precision-recall and calibration curves; none of what is always yes or no.

    There are none if there are more classes or labels than colours.
    """
    shown = [each for each in every if 0 < each.truth.sum() < len(each.truth)]
    if not shown or len(every) > len(COLOURS):
        return []
    rates, areas = zip(*map(roc, shown), strict=True)
    precisions, averages = zip(*map(precision_recall, shown), strict=True)
    bins, rows = zip(*map(calibration, shown), strict=True)
    shares = ", ".join(number_text(float(each.truth.mean())) for each in shown)
    of = f"On the {part} part"
    return [
        chart(
            (f"{key}-roc", "ROC curve"),
            shown,
            rates,
            ("false positive rate", "true positive rate"),
            figures=("area", areas),
            note=f"{of}. At random the area is 0.5.",
            diagonal=True,
        ),
        chart(
            (f"{key}-precision-recall", "Precision-recall curve"),
            shown,
            precisions,
            ("recall", "precision"),
            figures=("average precision", averages),
            note=f"{of}. At random the precision is the share of yes: {shares}.",
        ),
        chart(
            (f"{key}-calibration", "Calibration"),
            shown,
            bins,
            ("mean probability", "share of yes"),
            counts=rows,
            note=f"{of}, in {BINS} bins of probability. Above the line, probabilities are too low.",
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
    figures: tuple[str, Sequence[float]] | None = None,
    counts: Sequence[np.ndarray] | None = None,
    diagonal: bool = False,
) -> Chart:
    """Return a chart with a curve for each class or label."""
    names = [each.name for each in shown]
    if figures is not None:
        names = [f"{name}, {value:.4f}" for name, value in zip(names, figures[1], strict=True)]
        summary = "; ".join(names)
        note = f"{figures[0].capitalize()}: {summary}. {note}"
    series = [
        Line(name, x.tolist(), y.tolist(), colour)
        for colour, (name, (x, y)) in enumerate(zip(names, curves, strict=True))
    ]
    return unit_square(
        *named, series, labels=labels, diagonal=diagonal, note=note, counts=counts, listed=LISTED
    )
