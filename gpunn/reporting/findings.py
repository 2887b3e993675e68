"""A trained network's predictions on its data, together with the true values."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpunn.config import MNIST, Config, Digits
from gpunn.experiment.objects import Objects
from gpunn.experiment.predictions import interpret
from gpunn.experiment.resume_checks import data_of_run
from gpunn.experiment.splits import Split
from gpunn.layers import Dense
from gpunn.losses import GaussianNLL, Loss
from gpunn.network import Sequential
from gpunn.reporting.columns import ColumnFindings, examine_columns, means
from gpunn.reporting.probabilities import Scores
from gpunn.tables import Table
from gpunn.thresholds import decide
from gpunn.training.trainer import Trainer

CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Classes:
    names: list[str]
    truth: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray | None = None

    @property
    def scores(self) -> list[Scores]:
        if self.probabilities is None:
            return []
        every = [
            Scores(name, self.truth == index, self.probabilities[:, index])
            for index, name in enumerate(self.names)
        ]
        return every[1:] if len(every) == 2 else every

    @property
    def confusion(self) -> np.ndarray:
        count = len(self.names)
        pairs = self.truth * count + self.predicted
        return np.bincount(pairs, minlength=count * count).reshape(count, count)


@dataclass(frozen=True)
class Labels:
    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray | None = None
    names: list[str] | None = None

    @property
    def scores(self) -> list[Scores]:
        if self.probabilities is None:
            return []
        names = self.names or [f"output {index}" for index in range(self.truth.shape[1])]
        return list(map(Scores, names, self.truth.T, self.probabilities.T))


@dataclass(frozen=True)
class Numbers:
    truth: np.ndarray
    predicted: np.ndarray
    names: list[str] | None = None


@dataclass(frozen=True)
class Findings:
    """A network's predictions on one split of its data, and what a report shows about them."""

    split: str
    rows: dict[str, int]
    X: np.ndarray | None
    pixels: tuple[int, ...] | None
    outcome: Classes | Labels | Numbers
    baseline: tuple[str, dict[str, float]] = ("", {})
    columns: ColumnFindings | None = None
    table: Table | None = None


def examine(folder: Path, model: Sequential, objects: Objects, config: Config) -> Findings:
    # Without test rows, the validation rows are predicted, or else the training rows.
    outputs = model.output_shape[0]
    splits = data_of_run(folder, config, objects.loss, outputs)
    name, split = list(splits.by_name.items())[-1]
    rows = {name: split.rows for name, split in splits.by_name.items()}
    constant = baseline(model, objects, splits.training, split)
    if isinstance(split.source_inputs, Table):
        table = split.inputs()
        assert isinstance(table, Table)
        result = outcome(model.predict(table), split, objects, model)
        columns = examine_columns(model, objects.loss, splits)
        return Findings(name, rows, None, None, result, constant, columns, table)
    # Read in chunks, because the file may be larger than memory.
    raw = np.concatenate(
        [
            model.predict(split.inputs(start, start + CHUNK_ROWS))
            for start in range(0, split.rows, CHUNK_ROWS)
        ]
    )
    pixels = image_shape(config, split.source_inputs)
    X = None if pixels is None else np.asarray(split.inputs())
    return Findings(name, rows, X, pixels, outcome(raw, split, objects, model), constant)


def outcome(
    raw: np.ndarray, split: Split, objects: Objects, model: Sequential
) -> Classes | Labels | Numbers:
    loss, outputs = objects.loss, raw.shape[1]
    targets = loss.check_targets(split.targets(), outputs)
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
    # A vector of a square length is an image if it is uint8, or from MNIST or digits.
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


TINY = 1e-6
"""Minimum probability, so that the loss is finite for a class without training rows."""


def baseline(
    model: Sequential, objects: Objects, training: Split, split: Split
) -> tuple[str, dict[str, float]]:
    # A network with zero weights predicts the constant, so its metrics are the constant's metrics.
    outputs = model.output_shape[0]
    name, constant = constant_prediction(objects.loss, training.targets(), outputs)
    network = Sequential([Dense(outputs)], 1, model.backend, dtype=model.dtype)
    network.parameters["dense_1.weights"] = np.zeros((1, outputs))
    network.parameters["dense_1.biases"] = constant
    metrics = {each.name: each for each in (*objects.validation_metrics, *objects.metrics)}
    trainer = Trainer(network, objects.loss, metrics=list(metrics.values()))
    logs = trainer.evaluate(np.zeros((split.rows, 1), model.dtype), split.targets())
    if model.trained_layers < len(model.layers):
        del logs["loss"]  # of the inputs of the last layers, so in another unit
    return name, logs


def constant_prediction(loss: Loss, targets: np.ndarray, outputs: int) -> tuple[str, np.ndarray]:
    checked = loss.check_targets(targets, outputs)
    classes = loss.class_indices(checked)
    if loss.output_activation == "softmax" and classes is not None:
        shares = np.bincount(classes.reshape(-1), minlength=outputs) / classes.size
        return "most frequent class", np.log(np.maximum(shares, TINY))
    if isinstance(loss, GaussianNLL):
        variance = np.maximum(np.var(checked, axis=0, dtype=np.float64), TINY)
        return "mean", np.concatenate([np.mean(checked, axis=0), np.log(variance)])
    mean = np.asarray(np.mean(checked.reshape(-1, outputs), axis=0, dtype=np.float64))
    if loss.output_activation == "sigmoid":
        shares = np.clip(mean, TINY, 1 - TINY)
        answer = "class" if classes is not None else "answer"
        return f"most frequent {answer}", np.log(shares / (1 - shares))
    if loss.output_activation == "exponential":
        mean = np.asarray(np.log(np.maximum(mean, TINY)))
    return "mean", mean
