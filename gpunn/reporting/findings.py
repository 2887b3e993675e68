"""A trained network's predictions on its data, beside the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpunn.config import MNIST, Config, Digits
from gpunn.experiment.data import load
from gpunn.experiment.objects import Objects
from gpunn.experiment.parts import Part
from gpunn.experiment.predictions import interpret
from gpunn.network import Sequential
from gpunn.reporting.baseline import baseline
from gpunn.reporting.columns import ColumnFindings, examine_columns, means
from gpunn.reporting.probabilities import Scores
from gpunn.tables import Table
from gpunn.thresholds import decide

__all__ = ["Classes", "Findings", "Labels", "Numbers", "examine", "image_shape"]

CHUNK_ROWS = 4096
"""Rows that are read and predicted at a time."""


@dataclass(frozen=True)
class Classes:
    """One class a row: names, and arrays of shape (rows,) or, of probabilities, (rows, classes).

    The confidence is the probability that the network gave to the class it predicted.
    """

    names: list[str]
    truth: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray | None = None

    @property
    def scores(self) -> list[Scores]:
        """Probabilities of the second of two classes, or of each class against the others."""
        if self.probabilities is None:
            return []
        every = [
            Scores(name, self.truth == place, self.probabilities[:, place])
            for place, name in enumerate(self.names)
        ]
        return every[1:] if len(every) == 2 else every

    @property
    def confusion(self) -> np.ndarray:
        """Rows of each true class (first axis) that were predicted as each class (second axis)."""
        count = len(self.names)
        pairs = self.truth * count + self.predicted
        return np.bincount(pairs, minlength=count * count).reshape(count, count)

    @property
    def confidently_wrong(self) -> np.ndarray:
        """Indices of the wrongly predicted rows, the most confident first."""
        wrong = np.flatnonzero(self.truth != self.predicted)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]


@dataclass(frozen=True)
class Labels:
    """Several yes-or-no labels a row: truth and prediction of shape (rows, labels), as booleans.

    And probabilities of yes, if they are known, and the labels' names, if they have some.
    """

    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray | None = None
    names: list[str] | None = None

    @property
    def scores(self) -> list[Scores]:
        """Probabilities of yes for each label."""
        if self.probabilities is None:
            return []
        names = self.names or [f"output {place}" for place in range(self.truth.shape[1])]
        return list(map(Scores, names, self.truth.T, self.probabilities.T))


@dataclass(frozen=True)
class Numbers:
    """Numbers: truth and prediction of shape (rows, outputs), and names of outputs, if any."""

    truth: np.ndarray
    predicted: np.ndarray
    names: list[str] | None = None


@dataclass(frozen=True)
class Findings:
    """A network on one part of its data: "test", "validation" or "training".

    `rows` counts those of each part. If rows are images, X has them, and pixels is their shape
    (height, width) or (height, width, colours). The baseline is what a network without inputs would
    predict, and its loss and metrics on these rows. Of a table there are columns, what each is to
    the network, and the rows, which say which line of the file each one is.
    """

    part: str
    rows: dict[str, int]
    X: np.ndarray | None
    pixels: tuple[int, ...] | None
    outcome: Classes | Labels | Numbers
    baseline: tuple[str, dict[str, float]] = ("", {})
    columns: ColumnFindings | None = None
    table: Table | None = None


def examine(model: Sequential, objects: Objects, config: Config) -> Findings:
    """Let a network predict the test rows; if there are none, the validation or training rows.

    Raise a DataError if the data is damaged or does not fit the network any more, and an OSError if
    a file can't be opened.
    """
    outputs = model.output_shape[0]
    parts = load(config, objects.loss).split(config.data, objects.loss, outputs)
    name, part = list(parts.by_name.items())[-1]
    rows = {name: part.rows for name, part in parts.by_name.items()}
    least = baseline(model, objects, parts.training, part)
    if isinstance(part.source_inputs, Table):
        table = part.inputs()
        assert isinstance(table, Table)
        found = outcome(model.predict(table), part, objects, model)
        columns = examine_columns(model, objects.loss, parts)
        return Findings(name, rows, None, None, found, least, columns, table)
    # In chunks, since the file may be larger than memory.
    raw = np.concatenate(
        [
            model.predict(part.inputs(start, start + CHUNK_ROWS))
            for start in range(0, part.rows, CHUNK_ROWS)
        ]
    )
    pixels = image_shape(config, part.source_inputs)
    X = None if pixels is None else np.asarray(part.inputs())
    return Findings(name, rows, X, pixels, outcome(raw, part, objects, model), least)


def outcome(
    raw: np.ndarray, part: Part, objects: Objects, model: Sequential
) -> Classes | Labels | Numbers:
    """Return what outputs mean under the loss, beside the truth."""
    loss, outputs = objects.loss, raw.shape[1]
    targets = loss.check_targets(part.targets(), outputs)
    truth = loss.class_indices(targets)
    if loss.output_activation in ("softmax", "sigmoid"):
        meaning = interpret(raw, loss.output_activation, model.classes)
        assert meaning.probabilities is not None
        if truth is None:
            return Labels(targets > 0.5, raw > 0, meaning.probabilities, model.target_names)
        predicted = decide(raw, loss.output_activation, model.threshold)
        confidence = np.take_along_axis(meaning.probabilities, predicted[:, None], 1)[:, 0]
        return Classes(meaning.labels, truth, predicted, confidence, meaning.probabilities)
    return Numbers(targets.astype(np.float64), means(raw, loss), model.target_names)


def image_shape(config: Config, X: np.ndarray) -> tuple[int, ...] | None:
    """Return the shape of the image that a row is, or None if it is none.

    Rows of height and width, with or without 3 or 4 colours at the end, are images; so are vectors
    of a square number of small integers, as in MNIST.
    """
    shape = X.shape[1:]
    if len(shape) == 2 and min(shape) > 1:
        return shape
    if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) > 1:
        return shape[:2] if shape[2] == 1 else shape
    if len(shape) == 1:
        side = round(shape[0] ** 0.5)
        square = side > 3 and side * side == shape[0]
        if square and (isinstance(config.data, (Digits, MNIST)) or X.dtype == np.uint8):
            return side, side
    return None
