"""Sample weights and class weights as one weight a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunn.configurable import check_number
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.losses import Loss

__all__ = ["check_class_weight", "class_factors", "combined_weights"]


def combined_weights(
    loss: Loss,
    targets: np.ndarray,
    weights: np.ndarray | None,
    class_weight: Mapping[int, float] | str | None,
    outputs: int,
    kept: np.ndarray | None = None,
) -> np.ndarray | None:
    """Return sample weights times class weights, or None if there are neither.

    The class weights are as `check_class_weight` returns them. "balanced" is rows / (classes * rows
    of the class) (King & Zeng 2001), rows counted with their sample weights. Only the rows `kept`
    count and are weighted; None is all.

    Raise a DataError if the targets aren't classes, or no row to train on has a weight above zero.
    """
    rows = slice(None) if kept is None else kept
    if class_weight is not None:
        classes = loss.class_indices(targets)
        if classes is None:
            raise DataError(f"class_weight: the targets of {loss.name!r} are not classes here")
        part = None if weights is None else weights[rows]
        counts = np.bincount(classes[rows], part, minlength=max(outputs, 2))
        factors = class_factors(class_weight, counts)
        weights = np.ones(len(targets)) if weights is None else weights.copy()
        weights[rows] *= factors[classes[rows]]
    if weights is not None and not weights[rows].any():
        raise DataError(
            "sample_weight and class_weight: together they leave every row to train on with a "
            "weight of zero, so there is nothing to learn from"
        )
    return weights


def check_class_weight(class_weight: Any, outputs: int) -> Mapping[int, float] | str | None:
    """Return what `Trainer.fit` was given, once it is known to fit a network of so many outputs.

    Raise an ArgumentError or an ArgumentTypeError if it is no mapping, nor "balanced" or None, or a
    class or a weight is impossible.
    """
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight
    if not isinstance(class_weight, Mapping):
        found = repr(class_weight) if isinstance(class_weight, str) else type(class_weight).__name__
        kind = ArgumentError if isinstance(class_weight, str) else ArgumentTypeError
        raise kind(f"class_weight: expected a mapping or 'balanced'; got {found}")
    classes = max(outputs, 2)
    for label in class_weight:
        if not (isinstance(label, (int, np.integer)) and 0 <= label < classes):
            raise ArgumentError(
                f"class_weight: there is no class {label!r}; the network has classes 0 to "
                f"{classes - 1}, as whole numbers"
            )
    return {
        int(label): check_number(f"class_weight[{label!r}]", factor, at_least=0)
        for label, factor in class_weight.items()
    }


def class_factors(class_weight: Mapping[int, float] | str, counts: np.ndarray) -> np.ndarray:
    """Return the factor of each class, given each class's sum of sample weights."""
    factors = np.ones(len(counts))
    if isinstance(class_weight, str):
        present = counts > 0
        factors[present] = counts.sum() / (present.sum() * counts[present])
    else:
        factors[list(class_weight)] = list(class_weight.values())
    return factors
