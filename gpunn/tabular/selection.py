"""Greedy ensemble selection: how often each of many models counts in an average."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from gpunn.configurable import check_integer
from gpunn.errors import ArgumentError

FREE_PARAMETERS = ("compare", "distill", "max_networks", "time_limit")
"""Parameters that may change when a search resumes: finished models do not depend on them."""


def greedy_selection(
    predictions: Sequence[np.ndarray],
    loss: Callable[[np.ndarray], float],
    *,
    rounds: int = 50,
    max_models: int | None = None,
) -> list[int]:
    """Select models whose average prediction has the smallest loss on held-out rows.

    The ensemble starts empty. Each round adds the model for which the loss of the average becomes
    smallest; a model may be added several times. The result is the ensemble of the best round
    (Caruana et al. 2004, "Ensemble Selection from Libraries of Models"). Among equally good models
    or rounds, the first is selected. So the ensemble's loss is at most the loss of the best model.

    Parameters
    ----------
    predictions : sequence of ndarray
        Each model's predictions for the same held-out rows: probabilities or numbers. The ensemble
        predicts their mean.
    loss : function
        A function of an average prediction, which returns the number to minimize. NaN counts as
        infinity.
    rounds : int
        Number of rounds.
    max_models : int or None
        Maximum number of different models. None means all of them.

    Returns
    -------
    list of int
        How often the average counts each model. The counts have no common divisor.

    Raises
    ------
    ArgumentError
        If there are no predictions, or they have different shapes.

    See Also
    --------
    combined : Combines several networks, each with its count, into one network.

    Examples
    --------
    >>> targets = np.array([1.0, 2.0, 3.0])
    >>> predictions = [targets - 1, targets + 3, targets - 5]
    >>> def loss(average):
    ...     return np.mean((average - targets) ** 2)
    >>> gpunn.tabular.greedy_selection(predictions, loss)
    [3, 1, 0]
    """
    check_integer("rounds", rounds)
    if max_models is not None:
        check_integer("max_models", max_models)
    shapes = {each.shape for each in predictions}
    if len(shapes) != 1:
        raise ArgumentError(
            f"predictions: expected arrays of the same shape; got {sorted(shapes) or 'no array'}"
        )
    models = range(len(predictions))
    total = np.zeros(predictions[0].shape)
    counts, best, best_counts = [0] * len(predictions), math.inf, list[int]()
    for size in range(1, rounds + 1):
        is_full = max_models is not None and len(counts) - counts.count(0) >= max_models
        losses = {}
        for model in models:
            if counts[model] or not is_full:
                value = float(loss((total + predictions[model]) / size))
                losses[model] = math.inf if math.isnan(value) else value
        model = min(losses, key=losses.__getitem__)
        total += predictions[model]
        counts[model] += 1
        if losses[model] < best or not best_counts:
            best, best_counts = losses[model], counts.copy()
    divisor = math.gcd(*best_counts)
    return [count // divisor for count in best_counts]
