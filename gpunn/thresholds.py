"""The threshold between two classes: what it decides, and the criteria by which it is chosen.

The second class is predicted if its probability is at least the threshold. Decisions are taken on
the margin, which is the logit of that probability: z_1 - z_0 of two outputs under a softmax, z of
one output under a sigmoid. So all engines and exports decide alike, without rounding a probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gpunn.errors import ArgumentError, suggest

__all__ = [
    "DEFAULT",
    "TWO_CLASSES",
    "Choice",
    "best_threshold",
    "check_criterion",
    "check_threshold",
    "decide",
    "decision_metrics",
    "is_criterion",
    "limit_of",
    "margins",
]

TWO_CLASSES = (("softmax", (2,)), ("sigmoid", (1,)))
"""Functions of outputs, and shapes of these, of a network that tells two classes apart."""

DEFAULT = 0.5
"""The threshold at which the more probable class is predicted."""

PLAIN = ("f1", "balanced_accuracy")
"""Criteria that are maximized."""

LIMITED = {"precision": "recall", "recall": "precision"}
"""Criteria that have to reach a number, and what is maximized then."""


@dataclass(frozen=True)
class Choice:
    """A threshold on the probability of the second class that a criterion has chosen.

    If the criterion's number is not reached, the threshold is the nearest to it.
    """

    threshold: float
    reached: bool = True


def is_criterion(text: str) -> bool:
    """Return whether a text is a criterion, as `best_threshold` takes it."""
    name, mark, number = text.partition("=")
    return (name in PLAIN and not mark) or (name in LIMITED and _fraction(number) is not None)


def check_criterion(path: str, text: str) -> str:
    """Return a criterion as it is written, or raise an ArgumentError if there is no such one."""
    if is_criterion(text):
        return text
    name = text.partition("=")[0]
    if name in LIMITED:
        raise ArgumentError(
            f"{path}: {name!r} needs a number from 0 to 1, such as {name}=0.9; got {text!r:.80}"
        )
    known = [*PLAIN, *(f"{name}=0.9" for name in LIMITED)]
    raise ArgumentError(f"{path}: there is no {text!r:.80}; {suggest(text, known)}")


def check_threshold(path: str, value: float) -> float:
    """Return a threshold, or raise an ArgumentError unless it is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ArgumentError(f"{path}: expected a probability from 0 to 1; got {value!r}")
    return value


def _fraction(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def limit_of(threshold: float) -> float:
    """Return the least margin at which the second class is predicted: log(t / (1 - t))."""
    if threshold <= 0:
        return -math.inf
    return math.inf if threshold >= 1 else math.log(threshold) - math.log1p(-threshold)


def margins(outputs: np.ndarray) -> np.ndarray:
    """Return the logit of the second class's probability, from one output or two, in float64."""
    wide = outputs.astype(np.float64)
    margin: np.ndarray = wide[:, 1] - wide[:, 0] if outputs.shape[1] == 2 else wide[:, 0]
    return margin


def decide(outputs: np.ndarray, activation: str, threshold: float | None) -> np.ndarray:
    """Return the number of the class that is predicted for each row, which is of one class."""
    if threshold is not None and outputs.shape[1] <= 2:
        codes = margins(outputs) >= limit_of(threshold)
    else:
        codes = outputs.argmax(axis=1) if activation == "softmax" else outputs[:, 0] > 0
    return codes.astype(np.int64)


def best_threshold(
    criterion: str, margin: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> Choice | None:
    """Return the threshold that is the best by a criterion, as `check_criterion` takes it.

    Of the k rows of the largest margins, TP are of the second class, which has P rows; N are of the
    other. Each k between two different margins is tried, and the threshold put in their middle, if
    a number in float64 divides them, in which probabilities are 1 above a margin of 37::

        f1                 2 TP / (k + P)
        balanced_accuracy  (TP / P + (N - k + TP) / N) / 2
        precision=p        the largest recall TP / P with TP / k >= p
        recall=r           the largest precision TP / k with TP / P >= r

    Margins are as `margins` returns them; the truth, Booleans of the same shape (rows,), says which
    rows are of the second class, and a row of weight k counts as k rows. None if the rows are all
    of one class.
    """
    chosen = np.flatnonzero(np.ones(len(truth)) if weights is None else weights)
    order = chosen[np.argsort(-margin[chosen], kind="stable")]
    ranked, weight = margin[order], np.ones(len(order)) if weights is None else weights[order]
    counts, hits = np.cumsum(weight), np.cumsum(weight * truth[order])
    if not 0 < truth[order].sum() < len(order):
        return None
    rows, positive = counts[-1], hits[-1]
    ends = np.append(np.flatnonzero(ranked[1:] < ranked[:-1]), len(order) - 1)  # the last of k rows
    counts, hits = counts[ends], hits[ends]
    ratios = {"precision": hits / counts, "recall": hits / positive}
    name, _, number = criterion.partition("=")
    if name == "f1":
        values = 2 * hits / (counts + positive)
    elif name == "balanced_accuracy":
        negative = rows - positive
        values = (hits / positive + (negative - counts + hits) / negative) / 2
    else:
        enough = ratios[name] >= float(number)
        values = np.where(enough, ratios[LIMITED[name]], ratios[name] - 1)
    below = np.append(ranked[ends[:-1] + 1], -np.inf)
    for place in np.argsort(-values, kind="stable"):
        least, next_one = float(ranked[ends[place]]), float(below[place])
        middle = (least + next_one) / 2
        threshold = math.exp(min(middle, 0.0)) / (1 + math.exp(-abs(middle)))
        threshold = min(threshold, math.nextafter(1.0, 0.0))
        if next_one == -math.inf or next_one < limit_of(threshold) <= least:
            break
    return Choice(threshold, bool(values[place] >= 0))


def decision_metrics(second: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return how good decisions are: metrics of the second class, by their names.

    `second` and `truth` are Booleans of shape (rows,): which rows are predicted to be of the second
    class, and which are. As in scikit-learn, the balanced accuracy is the mean recall of the
    classes that there are.
    """
    hits, predicted, positive = int((second & truth).sum()), int(second.sum()), int(truth.sum())
    negative = len(truth) - positive
    rejected = negative - (predicted - hits)

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else 0.0

    recalls = [part / whole for part, whole in ((hits, positive), (rejected, negative)) if whole]
    return {
        "accuracy": ratio(hits + rejected, len(truth)),
        "balanced_accuracy": ratio(sum(recalls), len(recalls)),
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, positive),
        "f1": ratio(2 * hits, predicted + positive),
    }
