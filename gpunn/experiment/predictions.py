"""Converts a network's outputs to classes, probabilities or numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpunn.errors import DataError
from gpunn.intervals import bound_names, bounds
from gpunn.meaning import check_class_count, probabilities
from gpunn.prediction_sets import classes_in_sets
from gpunn.thresholds import decide


@dataclass(frozen=True)
class Predictions:
    """Predictions for rows. sets[i, k] is 1 if class k is in the prediction set of row i, else 0.

    For images, `files` has the file names.
    """

    values: np.ndarray
    probabilities: np.ndarray | None
    labels: list[str]
    targets: Sequence[str] | None = None
    columns: Sequence[str] = ()
    sets: np.ndarray | None = None
    files: Sequence[str] = ()

    def names(self, with_probabilities: bool) -> list[str]:
        if self.columns:
            return list(self.columns)
        names = ["prediction"]
        if self.values.ndim > 1 and self.values.shape[1] > 1:
            names = [f"prediction_{name}" for name in self.targets or range(self.values.shape[1])]
        if self.files:
            of_classes = self.probabilities is not None and self.values.ndim == 1
            names = ["file", *names, *(["probability"] if of_classes else [])]
        if self.sets is not None:
            names += [f"set_{label}" for label in self.labels]
        if with_probabilities and self.probabilities is not None:
            names += [f"probability_{label}" for label in self.labels]
        return names

    def rows(self, with_probabilities: bool) -> Iterator[tuple[list[Any], list[float]]]:
        width = 1 if self.values.ndim == 1 else self.values.shape[1]
        values = self.values.reshape(-1, width).tolist()
        if self.files:
            values = [[file, *row] for file, row in zip(self.files, values, strict=True)]
        if self.files and self.probabilities is not None and self.values.ndim == 1:
            for row, p in zip(values, self.probabilities.tolist(), strict=True):
                row.append(p[self.labels.index(str(row[1]))])
        if self.sets is not None:
            values = [[*row, *more] for row, more in zip(values, self.sets.tolist(), strict=True)]
        if with_probabilities and self.probabilities is not None:
            return zip(values, self.probabilities.tolist(), strict=True)
        return ((row, []) for row in values)


def interpret(
    outputs: np.ndarray,
    activation: str | None,
    classes: Sequence[str] | None,
    targets: Sequence[str] | None = None,
    threshold: float | None = None,
) -> Predictions:
    # "softmax" predicts the most probable class, and "sigmoid" 1 if a probability is above 1/2. A
    # `threshold` is the minimum probability of the second of two classes.
    count = outputs.shape[1]
    if activation not in ("softmax", "sigmoid"):
        return Predictions(outputs[:, 0] if count == 1 else outputs, None, [], targets)
    p = probabilities(outputs, activation)
    if activation == "sigmoid" and count > 1:
        return Predictions((outputs > 0).astype(np.int64), p, _labels(targets, count), targets)
    if classes is not None:
        check_class_count(classes, count, "classes")
    codes = decide(outputs, activation, threshold)
    named = codes if classes is None else np.array(classes)[codes]
    return Predictions(named, p, _labels(classes, p.shape[1]))


def with_bounds(
    outputs: np.ndarray, intervals: dict[str, Any], percent: int, targets: Sequence[str] | None
) -> Predictions:
    with DataError.instead_of(ValueError):
        found = bounds(outputs.T.astype(np.float64), intervals, percent)
    columns = [column for triple in found for column in triple]
    values = np.stack(columns, axis=1).astype(outputs.dtype)
    return Predictions(values, None, [], columns=bound_names(len(found), targets))


def with_sets(
    outputs: np.ndarray,
    activation: str,
    classes: Sequence[str] | None,
    threshold: float | None,
    sets: dict[str, Any],
    percent: int,
) -> Predictions:
    predictions = interpret(outputs, activation, classes, None, threshold)
    p = probabilities(outputs.astype(np.float64), activation)
    with DataError.instead_of(ValueError):
        found = classes_in_sets(p, decide(outputs, activation, threshold), sets, percent)
    return replace(predictions, sets=found.astype(np.uint8))


def _labels(classes: Sequence[str] | None, count: int) -> list[str]:
    return [str(number) for number in range(count)] if classes is None else list(classes)
