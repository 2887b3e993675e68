"""From a network's outputs to what a user asks for: classes, probabilities, numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.meaning import check_class_count, probabilities
from gpunn.thresholds import decide

__all__ = ["Predictions", "interpret"]


@dataclass(frozen=True)
class Predictions:
    """What a network says of some rows.

    `values` are classes, as names if the training data had names and as numbers otherwise; 0 or 1
    of each output for several yes-or-no outputs; the outputs themselves for any other loss. Of
    shape (rows,) or (rows, outputs). `targets` names their columns, if there are several.
    `probabilities` are of each class or yes-or-no output, and `labels` name their columns; None if
    the loss knows none.
    """

    values: np.ndarray
    probabilities: np.ndarray | None
    labels: list[str]
    targets: Sequence[str] | None = None

    def names(self, with_probabilities: bool) -> list[str]:
        """Return the names of what is written of a row."""
        names = ["prediction"]
        if self.values.ndim > 1 and self.values.shape[1] > 1:
            names = [f"prediction_{name}" for name in self.targets or range(self.values.shape[1])]
        if with_probabilities and self.probabilities is not None:
            names += [f"probability_{label}" for label in self.labels]
        return names

    def rows(self, with_probabilities: bool) -> Iterator[tuple[list[Any], list[float]]]:
        """Return each row's values and probabilities."""
        width = 1 if self.values.ndim == 1 else self.values.shape[1]
        values = self.values.reshape(-1, width).tolist()
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
    """Return what outputs of shape (rows, outputs) mean, by the `output_activation` of their loss.

    For "softmax" these are its probabilities and the class of the largest; for "sigmoid" its
    probabilities, and 1 where one is above 1/2. Under any other loss outputs stand for themselves:
    for `gpunn.losses.Poisson` they are logarithms of rates. With a `threshold`, the second of two
    classes is predicted if its probability is at least that. A DataError says if there are not as
    many names of classes as the network tells apart.
    """
    count = outputs.shape[1]
    if activation not in ("softmax", "sigmoid"):
        return Predictions(outputs[:, 0] if count == 1 else outputs, None, [], targets)
    found = probabilities(outputs, activation)
    if activation == "sigmoid" and count > 1:
        return Predictions((outputs > 0).astype(np.int64), found, _labels(targets, count), targets)
    if classes is not None:
        check_class_count(classes, count, "classes")
    codes = decide(outputs, activation, threshold)
    return Predictions(_named(codes, classes), found, _labels(classes, found.shape[1]))


def _labels(classes: Sequence[str] | None, count: int) -> list[str]:
    return [str(number) for number in range(count)] if classes is None else list(classes)


def _named(codes: np.ndarray, classes: Sequence[str] | None) -> np.ndarray:
    return codes if classes is None else np.array(classes)[codes]
