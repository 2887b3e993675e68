"""Class weights, which multiply the sample weights."""

from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from gpunn.training.batches.class_and_sample_weights import class_factors


def check_class_weight(class_weight: Any, incremental: bool) -> None:
    if incremental and class_weight == "balanced":
        raise ValueError(
            "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' "
            "weights, use compute_class_weight('balanced', classes=classes, y=y). In place of y "
            "you can use a large enough sample of the full training set target to properly "
            "estimate the class frequency distributions. Pass the resulting weights as the "
            "class_weight parameter."
        )


def class_weight_of_rows(
    class_weight: Any,
    classes: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None,
    rows: np.ndarray | None,
) -> np.ndarray:
    # With "balanced", the factor of a class is n / (c * m), for n rows, c classes, and m rows of
    # the class (King & Zeng 2001). A row with weight k counts as k rows. For multilabel targets,
    # the factors of a row's labels are multiplied. Rows not in `rows` keep their weights and are
    # not counted.
    result = np.ones(len(y)) if weights is None else weights.copy()
    chosen = np.arange(len(y)) if rows is None else rows
    if y.ndim == 2:
        result[chosen] *= compute_sample_weight(class_weight, y[chosen])
        return result
    index = np.searchsorted(classes, y[chosen])
    if isinstance(class_weight, str):
        counts = np.bincount(index, result[chosen], minlength=len(classes))
        factors = class_factors("balanced", counts)
    else:
        factors = compute_class_weight(class_weight, classes=classes, y=y[chosen])
    result[chosen] *= factors[index]
    if not result[chosen].any():
        raise ValueError(
            "class_weight: all training rows have a weight of zero; give more classes or rows a "
            "weight above zero"
        )
    return result
