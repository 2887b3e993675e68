"""Class labels and weights without scikit-learn's checks, which would slow down short fits."""

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer


def is_plain(y: Any) -> bool:
    return type(y) is np.ndarray and y.ndim == 1 and y.size > 0 and y.dtype.kind in "biu"


def label_binarizer(y: Any) -> LabelBinarizer:
    binarizer = LabelBinarizer()
    if is_plain(y) and y.dtype.isnative:
        classes = np.unique(y)
        if 2 * len(classes) <= len(y):  # otherwise some releases of scikit-learn warn
            binarizer.y_type_ = "binary" if len(classes) <= 2 else "multiclass"
            binarizer.sparse_input_, binarizer.classes_ = False, classes
            return binarizer
    return binarizer.fit(y)


def most_probable(binarizer: LabelBinarizer, probabilities: np.ndarray) -> np.ndarray:
    classes: np.ndarray = binarizer.classes_
    if binarizer.y_type_ == "multiclass":
        labels: np.ndarray = classes[probabilities.argmax(axis=1)]
    elif binarizer.y_type_ == "binary" and len(classes) == 2:
        labels = classes[(probabilities > 0.5).astype(np.intp).ravel()]
    else:
        labels = binarizer.inverse_transform(probabilities)
    return labels


def is_text(y: Any) -> bool:
    if type(y) is not np.ndarray or y.ndim != 1 or not y.size:
        return False
    return y.dtype.kind == "U" or (y.dtype == object and {*map(type, y)} == {str})


def are_plain(weights: Any, y: np.ndarray) -> bool:
    if weights is None:
        return True
    if type(weights) is not np.ndarray or weights.dtype != np.float64:
        return False
    fits = weights.shape == y.shape[:1] and weights.min() >= 0
    with np.errstate(over="ignore"):
        return bool(fits and 0 < weights.sum() < np.inf)


def accuracy(y: Any, labels: Any, weights: Any = None) -> float:
    alike = any(kind(y) and kind(labels) for kind in (is_plain, is_text))
    if alike and y.shape == labels.shape and are_plain(weights, y):
        right = y == labels
        if weights is None:
            return float(np.count_nonzero(right) / len(y))
        return float(np.average(right, weights=weights))
    return float(accuracy_score(y, labels, sample_weight=weights))
