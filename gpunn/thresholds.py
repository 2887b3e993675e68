"""Decide between two classes by a threshold on a probability; select thresholds by a criterion.

The second class is predicted if its probability is at least the threshold. The comparison uses the
margin, which is the logit of that probability: z_1 - z_0 for two outputs with softmax, and z for
one output with sigmoid. No probability is rounded, so NumPy, CuPy and exported files decide
identically.
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

DEFAULT = 0.5

MAXIMIZED = ("f1", "balanced_accuracy")

LIMITED = {"precision": "recall", "recall": "precision"}
"""Maps a criterion with a minimum, such as "precision", to the metric that is maximized."""


@dataclass(frozen=True)
class Choice:
    """A threshold selected by a criterion. `reached` is False if no threshold is good enough."""

    threshold: float
    reached: bool = True


def is_criterion(text: str) -> bool:
    name, mark, number = text.partition("=")
    return (name in MAXIMIZED and not mark) or (name in LIMITED and _fraction(number) is not None)


def check_criterion(path: str, text: str) -> str:
    if is_criterion(text):
        return text
    name = text.partition("=")[0]
    if name in LIMITED:
        raise ArgumentError(
            f"{path}: {name!r} needs a number from 0 to 1, such as {name}=0.9; got {text!r:.80}"
        )
    known = [*MAXIMIZED, *(f"{name}=0.9" for name in LIMITED)]
    raise ArgumentError(f"{path}: there is no criterion {text!r:.80}; {suggest(text, known)}")


def check_threshold(path: str, value: float) -> float:
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
    """Return log(t / (1 - t)) for threshold t: the minimum margin to predict the second class."""
    if threshold <= 0:
        return -math.inf
    return math.inf if threshold >= 1 else math.log(threshold) - math.log1p(-threshold)


def margins(outputs: np.ndarray) -> np.ndarray:
    """Return the log odds of class 1 in float64: output 1 minus output 0, or the only output."""
    wide = outputs.astype(np.float64)
    margin: np.ndarray = wide[:, 1] - wide[:, 0] if outputs.shape[1] == 2 else wide[:, 0]
    return margin


def decide(outputs: np.ndarray, activation: str, threshold: float | None) -> np.ndarray:
    if threshold is not None and outputs.shape[1] <= 2:
        codes = margins(outputs) >= limit_of(threshold)
    else:
        codes = outputs.argmax(axis=1) if activation == "softmax" else outputs[:, 0] > 0
    return codes.astype(np.int64)


def best_threshold(
    criterion: str, margin: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> Choice | None:
    """Return the best threshold by a criterion.

    With a candidate threshold, the second class is predicted for the k rows with the largest
    margins. TP of these k rows belong to the second class. Among all rows, P belong to the second
    class and N to the first.

    The logit of a candidate is halfway between the smallest of the k margins and the next smaller
    margin. If k is the number of all rows, the threshold is 0. The threshold is a float64
    probability. A candidate is skipped if this probability does not separate the two margins. The
    criteria are::

        f1                 2 TP / (k + P)
        balanced_accuracy  (TP / P + (N - k + TP) / N) / 2
        precision=p        the largest recall TP / P with TP / k >= p
        recall=r           the largest precision TP / k with TP / P >= r

    `margin` is a result of `margins`. `truth` contains Booleans, shape (rows,), which are True for
    rows of the second class. A row with weight w counts as w rows. The result is None if all rows
    belong to one class.
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
    for index in np.argsort(-values, kind="stable"):
        smallest, next_one = float(ranked[ends[index]]), float(below[index])
        middle = (smallest + next_one) / 2
        threshold = math.exp(min(middle, 0.0)) / (1 + math.exp(-abs(middle)))
        threshold = min(threshold, math.nextafter(1.0, 0.0))
        if next_one == -math.inf or next_one < limit_of(threshold) <= smallest:
            break
    return Choice(threshold, bool(values[index] >= 0))


def chosen_threshold(
    criterion: str, outputs: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float | None, str]:
    """Return the best threshold by a criterion, and a message about a problem or "".

    If no threshold meets the criterion, return the threshold that comes closest. If all rows have
    the same class, the threshold is None.
    """
    choice = best_threshold(criterion, margins(outputs), truth, weights)
    if choice is None:
        return None, "all validation rows have the same class, so the threshold is 0.5"
    missed = f"no threshold reaches {criterion} on the validation rows"
    remedy = "the threshold that comes closest is used"
    return choice.threshold, "" if choice.reached else f"{missed}, so {remedy}"


def decision_metrics(second: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    # `second` and `truth` are Booleans of shape (rows,): the prediction and the true class. As in
    # scikit-learn, the balanced accuracy is the mean recall of the classes that occur.
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
