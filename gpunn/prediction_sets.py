"""Prediction sets of classes by split conformal prediction, from probabilities of held-out rows.

If new rows resemble the n held-out rows, the 90 % set contains the true class for at least 90 % of
the rows, on average. This holds for any network. The held-out rows must not influence training. A
set contains each class whose probability is at least a limit (Sadinle et al. 2019, "Least Ambiguous
Set-Valued Classifiers With Bounded Error Levels"). For each held-out row, take the probability of
the true class. The limit is the k-th largest of these n probabilities, with k = ceil((n + 1) *
percent / 100). If the probabilities are right, no sets that are smaller on average contain the true
class as often. The predicted class is always in the set.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpunn.intervals import PERCENTS, smallest, too_few

__all__ = ["check_sets", "classes_in_sets", "fit_sets", "limit_of_set", "set_of"]

ROUNDING = 1e-4
"""Limits are lowered by this fraction, since exported programs round probabilities differently."""


def fit_sets(
    p: np.ndarray, classes: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Return the argument `sets` of `classes_in_sets`, fitted to held-out rows.

    p has the predicted probabilities of these rows, and `classes` has the true classes.
    """
    chosen = np.flatnonzero(np.ones(len(classes)) if weights is None else weights)
    weight = np.ones(len(chosen)) if weights is None else weights[chosen].astype(np.float64)
    scores = smallest(-p[chosen, classes[chosen]].astype(np.float64), weight)
    return {"limits": [None if each is None else -each * (1 - ROUNDING) for each in scores]}


def limit_of_set(sets: dict[str, Any], percent: int) -> float:
    limit: float | None = sets["limits"][percent - 1]
    if limit is None:
        raise too_few("a set", percent)
    return limit


def classes_in_sets(
    p: np.ndarray, predicted: np.ndarray, sets: dict[str, Any], percent: int
) -> Any:
    found = p >= limit_of_set(sets, percent)
    found[np.arange(len(p)), predicted] = True
    return found


def set_of(p: Sequence[float], predicted: int, sets: dict[str, Any], percent: int) -> list[object]:
    limit = limit_of_set(sets, percent)
    return [int(k == predicted or each >= limit) for k, each in enumerate(p)]


def check_sets(value: Any) -> dict[str, Any]:
    match value:
        case {"limits": list() as limits} if len(limits) == len(PERCENTS):
            if all(each is None or (isinstance(each, float) and 0 <= each <= 1) for each in limits):
                return dict(value)
    raise ValueError(
        "expected a limit for each percentage: {'limits': [99 numbers from 0 to 1, or None]}; got "
        f"{value!r:.80}"
    )
