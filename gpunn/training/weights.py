"""Sample weights and class weights as one weight a row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gpunn.configurable import check_number
from gpunn.errors import ArgumentError, DataError
from gpunn.losses import Loss

__all__ = ["combined_weights"]


def combined_weights(
    loss: Loss,
    targets: np.ndarray,
    weights: np.ndarray | None,
    class_weight: Mapping[int, float] | str | None,
) -> np.ndarray | None:
    """Return sample weights times class weights, or None if there are neither.

    Parameters
    ----------
    loss : Loss
        Knows which class a row of targets stands for.
    targets : ndarray
        Checked targets.
    weights : ndarray, shape (rows,), or None
        Checked sample weights.
    class_weight : mapping of int to float, "balanced" or None
        "balanced" is rows / (classes * rows of the class) (King & Zeng 2001), rows counted with
        their sample weights.

    Raises
    ------
    DataError
        If the targets aren't classes.
    ArgumentError
        If a class or weight is impossible.
    """
    if class_weight is None:
        return weights
    classes = loss.class_indices(targets)
    if classes is None:
        raise DataError(f"class_weight: the targets of {loss.name!r} are not classes here")
    counts = np.bincount(classes, weights)
    factors = np.ones(counts.shape[0])
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ArgumentError(
                f"class_weight: expected a mapping or 'balanced'; got {class_weight!r}"
            )
        present = counts > 0
        factors[present] = counts.sum() / (present.sum() * counts[present])
    else:
        for label, factor in class_weight.items():
            check_number(f"class_weight[{label!r}]", factor, at_least=0)
            if not (isinstance(label, (int, np.integer)) and 0 <= label < counts.shape[0]):
                raise ArgumentError(
                    f"class_weight: there is no class {label!r}; the targets hold classes 0 to "
                    f"{counts.shape[0] - 1}"
                )
            factors[label] = factor
    rows = factors[classes]
    return rows if weights is None else rows * weights
