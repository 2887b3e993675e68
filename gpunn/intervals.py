"""Prediction intervals by split conformal prediction, from the errors of held-out rows.

If new rows resemble the n held-out rows, the 90 % interval contains the true value for at least 90
% of the rows, on average. This holds for any network. The held-out rows must not influence training
(Lei et al. 2018, "Distribution-Free Predictive Inference for Regression"). Without quantiles, the
score of a held-out row is its absolute error. With quantiles, the score is the distance from the
true value to the interval between two predicted quantiles, negative inside the interval (Romano et
al. 2019, "Conformalized Quantile Regression"). If the network learns logarithms of targets, scores
are relative, so bounds are positive, and an interval is wider if the prediction is larger::

    without quantiles   s_i = |t_i - p_i|                            [p - s, p + s]
    with quantiles      s_i = max(low_i - t_i, t_i - high_i)         [low - s, high + s]
    relative            s_i = max(low_i / t_i, t_i / high_i)         [low / s, high * s]

Here s is the k-th smallest score, with k = ceil((n + 1) * percent / 100). Without quantiles, low
and high are p.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "PERCENTS",
    "bound_names",
    "bounds",
    "check_intervals",
    "fit_intervals",
    "percent_of",
    "smallest",
    "too_few",
]

PERCENTS = range(1, 100)
"""Percentages for which model files have a score."""


def fit_intervals(
    outputs: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    quantiles: Sequence[float] = (),
    relative: bool = False,
) -> dict[str, Any]:
    """Compute the scores of prediction intervals from held-out rows, for the function `bounds`.

    `outputs` has one column per target. For a single target with `quantiles`, `outputs` has one
    column per quantile. A row with weight k counts as k rows. A new row has the average weight. For
    each target, the result contains one score for each percentage in `PERCENTS`, or None if there
    are too few rows. Relative scores need positive outputs and targets.
    """
    targets = targets.reshape(len(targets), -1).astype(np.float64)
    chosen = np.flatnonzero(np.ones(len(targets)) if weights is None else weights)
    weight = np.ones(len(chosen)) if weights is None else weights[chosen].astype(np.float64)
    columns, scores = outputs[chosen].astype(np.float64).T, []
    for target, true in enumerate(targets[chosen].T):
        found: dict[tuple[int, int], list[float | None]] = {}
        for percent in PERCENTS:
            low, high = pair = symmetric_pair(quantiles, percent)
            if pair not in found:
                outer = columns[target + low], columns[target + high]
                found[pair] = smallest(scores_of(*outer, true, relative), weight)
        scores.append([found[symmetric_pair(quantiles, k)][k - 1] for k in PERCENTS])
    return {"quantiles": list(quantiles), "scores": scores, "relative": relative}


def scores_of(low: np.ndarray, high: np.ndarray, true: np.ndarray, relative: bool) -> np.ndarray:
    below, above = (low / true, true / high) if relative else (low - true, true - high)
    scores: np.ndarray = np.maximum(below, above)
    return scores


def smallest(scores: np.ndarray, weights: np.ndarray) -> list[float | None]:
    """Return a score s for each percentage p in `PERCENTS`.

    At least p % of the scores are at most s, and s is the smallest such score. One infinite score
    is added for a new row. If s is infinite, the list contains None instead of s.
    """
    if not len(scores):
        return [None for _ in PERCENTS]
    order = np.argsort(scores, kind="stable")
    counts = 100 * np.cumsum(weights[order])
    limits = np.array(PERCENTS) * (weights.sum() + weights.mean())
    places = np.searchsorted(counts, limits * (1 - 1e-12))
    ranked = scores[order].tolist()
    return [ranked[place] if place < len(ranked) else None for place in places]


def symmetric_pair(quantiles: Sequence[float], percent: int) -> tuple[int, int]:
    """Return the indices of the symmetric quantiles whose difference is closest to `percent` %."""
    if not quantiles:
        return 0, 0
    last = len(quantiles) - 1
    pairs = [(low, last - low) for low in range(last // 2 + 1)]
    return min(pairs, key=lambda pair: abs(quantiles[pair[1]] - quantiles[pair[0]] - percent / 100))


def bounds(outputs: Any, intervals: dict[str, Any], percent: int) -> list[tuple[Any, Any, Any]]:
    # `outputs` has numbers for one row, or arrays for many rows. An interval that would be empty,
    # or would not contain the prediction, is extended to the prediction.
    quantiles, result = intervals["quantiles"], []
    center = quantiles.index(0.5) if quantiles else 0
    low, high = symmetric_pair(quantiles, percent)
    for target, scores in enumerate(intervals["scores"]):
        score = scores[percent - 1]
        if score is None:
            raise too_few("an interval", percent)
        prediction = outputs[center + target]
        lower, upper = outputs[low + target], outputs[high + target]
        is_relative = intervals.get("relative")  # not in files of earlier releases
        below = prediction - (lower / score if is_relative else lower - score)
        above = (upper * score if is_relative else upper + score) - prediction
        # (x + |x|) / 2 is max(x, 0), for both numbers and arrays.
        below, above = (below + abs(below)) / 2, (above + abs(above)) / 2
        result.append((prediction, prediction - below, prediction + above))
    return result


def too_few(what: str, percent: int) -> ValueError:
    rows = math.ceil(percent / (100 - percent))
    return ValueError(
        f"{what} of {percent} % needs at least {rows} held-out rows; choose a smaller percentage, "
        "or hold out more rows"
    )


def bound_names(targets: int, names: Sequence[str] | None) -> list[str]:
    kinds = ("prediction", "lower", "upper")
    if targets == 1:
        return [*kinds]
    return [f"{kind}_{name}" for name in names or range(targets) for kind in kinds]


def percent_of(argument: str, level: Any) -> int:
    number = isinstance(level, (int, float)) and not isinstance(level, bool)
    percent = round(100 * level) if number and math.isfinite(level) else 0
    if percent not in PERCENTS or abs(100 * level - percent) > 1e-9:
        raise ValueError(
            f"{argument}: expected a multiple of 0.01 from 0.01 to 0.99; got {level!r}"
        )
    return percent


def check_intervals(value: Any, outputs: int) -> dict[str, Any]:
    match value:
        case {"quantiles": list() as quantiles, "scores": list() as scores}:
            rows = [each if isinstance(each, list) else [] for each in scores]
            types = {type(each) for row in [quantiles, *rows] for each in row}
            sizes = {len(row) for row in rows} == {len(PERCENTS)}
            targets = outputs if not quantiles else 1 if len(quantiles) == outputs else 0
            median = not quantiles or 0.5 in quantiles
            if types <= {float, int, type(None)} and sizes and len(rows) == targets and median:
                return dict(value)
    raise ValueError(f"expected scores for {outputs} outputs; got {value!r:.80}")
