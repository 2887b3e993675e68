"""From a network's outputs to what a user asks for: classes, probabilities, numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.losses import Loss
from gpunn.meaning import check_class_count, probabilities
from gpunn.storage.formulas import formula_as_text, warn_of_formulas

__all__ = ["Predictions", "interpret"]


@dataclass(frozen=True)
class Predictions:
    """What a network says of some rows.

    Attributes
    ----------
    values : ndarray
        Classes, as names if the training data had names and as numbers otherwise; 0 or 1 of each
        output for several yes-or-no outputs; the outputs themselves for any other loss. Of shape
        (rows,) or (rows, outputs).
    probabilities : ndarray or None
        Of each class, shape (rows, classes), or of each yes-or-no output; None where the loss
        knows none.
    labels : list of str
        Names of the columns of `probabilities`.
    targets : sequence of str or None
        Names of the columns of `values`, if there are several and they have names.
    """

    values: np.ndarray
    probabilities: np.ndarray | None
    labels: list[str]
    targets: Sequence[str] | None = None

    def table(self, with_probabilities: bool) -> str:
        """Return CSV text: a header, then one line a row.

        A class's name that a spreadsheet would take for a formula is written as
        `gpunn.storage.formulas.formula_as_text` says, and a warning says so.
        """
        width = 1 if self.values.ndim == 1 else self.values.shape[1]
        columns = self.values.reshape(-1, width)
        names = ["prediction"]
        if width > 1:
            names = [f"prediction_{name}" for name in self.targets or range(width)]
        if with_probabilities and self.probabilities is not None:
            names += [f"probability_{label}" for label in self.labels]
            extra = [[f"{value:.9g}" for value in row] for row in self.probabilities]
        else:
            extra = [[] for _ in columns]
        digits = 17 if columns.dtype == np.float64 else 9
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        for row, more in zip(columns.tolist(), extra, strict=True):
            writer.writerow([_cell(value, digits) for value in row] + more)
        if columns.dtype.kind == "U":
            warn_of_formulas(self.labels)
        return text.getvalue()


def _cell(value: object, digits: int) -> str:
    if isinstance(value, str):
        return formula_as_text(value)
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def interpret(
    outputs: np.ndarray,
    loss: Loss,
    classes: Sequence[str] | None,
    targets: Sequence[str] | None = None,
) -> Predictions:
    """Return what outputs of shape (rows, outputs) mean under the loss they were trained with.

    Where the loss's `output_activation` is "softmax", its probabilities and the class of the
    largest; where it is "sigmoid", its probabilities and 1 where that is above 1/2. Under any other
    loss outputs stand for themselves: for `gpunn.losses.Poisson` they are logarithms of rates.
    `targets` are the outputs' names, if they have some.

    Raises
    ------
    DataError
        If there are not as many names of classes as the network tells apart.
    """
    activation, count = loss.output_activation, outputs.shape[1]
    if activation not in ("softmax", "sigmoid"):
        return Predictions(outputs[:, 0] if count == 1 else outputs, None, [], targets)
    found = probabilities(outputs, activation)
    if activation == "sigmoid" and count > 1:
        return Predictions((outputs > 0).astype(np.int64), found, _labels(targets, count), targets)
    if classes is not None:
        check_class_count(classes, count, "classes")
    decided = outputs.argmax(axis=1) if activation == "softmax" else outputs[:, 0] > 0
    return Predictions(
        _named(decided.astype(np.int64), classes), found, _labels(classes, found.shape[1])
    )


def _labels(classes: Sequence[str] | None, count: int) -> list[str]:
    return [str(number) for number in range(count)] if classes is None else list(classes)


def _named(codes: np.ndarray, classes: Sequence[str] | None) -> np.ndarray:
    return codes if classes is None else np.array(classes)[codes]
