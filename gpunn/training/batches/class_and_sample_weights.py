"""Combine sample weights and class weights into one weight per row."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunn.configurable import check_number
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.losses import Loss


def combined_weights(
    loss: Loss,
    targets: np.ndarray,
    weights: np.ndarray | None,
    class_weight: Mapping[int, float] | str | None,
    outputs: int,
    kept: np.ndarray | None = None,
) -> np.ndarray | None:
    """Return sample weights times class weights, or None if there are no weights at all.

    With "balanced", class weights are rows / (classes * rows of the class) (King & Zeng 2001). A
    row with weight k counts as k rows. Only rows in `kept` are counted and weighted.
    """
    rows = slice(None) if kept is None else kept
    if class_weight is not None:
        classes = loss.class_indices(targets)
        if classes is None:
            raise DataError(
                f"class_weight: the targets of {loss.name!r} are not classes; leave class_weight "
                "out"
            )
        part = None if weights is None else weights[rows]
        counts = np.bincount(classes[rows], part, minlength=max(outputs, 2))
        factors = class_factors(class_weight, counts)
        weights = np.ones(len(targets)) if weights is None else weights.copy()
        weights[rows] *= factors[classes[rows]]
    if weights is not None and not weights[rows].any():
        raise DataError(
            "sample_weight and class_weight: together they give every training row a weight of "
            "zero; give some rows a weight above zero"
        )
    return weights


def check_class_weight(class_weight: Any, outputs: int) -> Mapping[int, float] | str | None:
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight
    if not isinstance(class_weight, Mapping):
        is_text = isinstance(class_weight, str)
        actual = repr(class_weight) if is_text else type(class_weight).__name__
        kind = ArgumentError if is_text else ArgumentTypeError
        raise kind(f"class_weight: expected a mapping or 'balanced'; got {actual}")
    classes = max(outputs, 2)
    for label in class_weight:
        if not (isinstance(label, (int, np.integer)) and 0 <= label < classes):
            raise ArgumentError(
                f"class_weight: there is no class {label!r}; expected integers from 0 to "
                f"{classes - 1}, the classes of the network"
            )
    return {
        int(label): check_number(f"class_weight[{label!r}]", factor, at_least=0)
        for label, factor in class_weight.items()
    }


def class_factors(class_weight: Mapping[int, float] | str, counts: np.ndarray) -> np.ndarray:
    factors = np.ones(len(counts))
    if isinstance(class_weight, str):
        present = counts > 0
        factors[present] = counts.sum() / (present.sum() * counts[present])
    else:
        factors[list(class_weight)] = list(class_weight.values())
    return factors
