"""Evaluates a trained network on a split: loss, metrics, base rate, and predicted classes."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpunn.config import DataSet, TableFile
from gpunn.data.memory_maps import rows_of
from gpunn.intervals import fit_intervals
from gpunn.losses import Huber, LogCosh, Loss, MeanAbsoluteError, MeanSquaredError, Quantiles
from gpunn.meaning import probabilities
from gpunn.metrics import AUC, LogLoss
from gpunn.network import Sequential
from gpunn.prediction_sets import fit_sets
from gpunn.tabular import scale_temperature
from gpunn.thresholds import DEFAULT, TWO_CLASSES, chosen_threshold, decide, decision_metrics
from gpunn.training import Trainer
from gpunn.training.batches.dataset import Subset

WITH_INTERVALS = (MeanSquaredError, MeanAbsoluteError, Huber, LogCosh, Quantiles)

LOG = logging.getLogger("gpunn")


class Evaluation(dict[str, float]):
    """Loss and metrics of a data split, by name. `rates` has the fraction of rows of each class."""

    def __init__(
        self,
        metrics: Mapping[str, float],
        rows: int,
        classes: Sequence[str] = (),
        rates: np.ndarray | None = None,
        decisions: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(metrics)
        self.rows, self.classes, self.rates, self.decisions = rows, classes, rates, decisions

    @property
    def shown(self) -> int:
        """The class whose rate is shown: the second of two classes, or the most common class."""
        rates = np.zeros(1) if self.rates is None else self.rates
        return 1 if len(rates) == 2 else int(rates.argmax())

    def plain(self) -> dict[str, Any]:
        content: dict[str, Any] = {"rows": self.rows, **self}
        if self.rates is not None:
            content["base_rate"] = float(self.rates[self.shown])
        if self.decisions is not None:
            content["decisions"] = dict(self.decisions)
        return content


def has_exclusive_classes(loss: Loss, outputs: int) -> bool:
    return loss.output_activation == "softmax" or (
        loss.output_activation == "sigmoid" and outputs == 1
    )


def evaluated(trainer: Trainer, subset: Subset, data: DataSet) -> Evaluation:
    # For classes of a table, add log loss and AUC.
    model, loss, outputs = trainer.model, trainer.loss, trainer.model.output_shape[0]
    truth = classes_of(loss, subset) if has_exclusive_classes(loss, outputs) else None
    if truth is None or not isinstance(data, TableFile):
        return Evaluation(trainer.evaluate_subset(subset), subset.rows)
    names = [metric.name for metric in trainer.validation_metrics]
    trainer.validation_metrics += [m for m in (LogLoss(), AUC()) if m.name not in names]
    metrics = trainer.evaluate_subset(subset)
    count = max(outputs, 2)
    rates = np.bincount(truth, minlength=count) / len(truth)
    decisions = None
    if count == 2:
        threshold = DEFAULT if model.threshold is None else model.threshold
        second = decide(predicted(model, subset), loss.output_activation, model.threshold) == 1
        decisions = {"threshold": threshold, **decision_metrics(second, truth == 1)}
    classes = model.classes or [str(number) for number in range(count)]
    return Evaluation(metrics, subset.rows, classes, rates, decisions)


def predicted(model: Sequential, subset: Subset) -> np.ndarray:
    return model.predict_encoded(inputs_of(subset))


def inputs_of(subset: Subset) -> np.ndarray:
    return chosen(subset.dataset.X, subset)


def targets_of(subset: Subset) -> np.ndarray:
    return np.asarray(chosen(subset.dataset.y, subset))


def weights_of(subset: Subset) -> np.ndarray | None:
    weights = subset.dataset.weights
    return None if weights is None else chosen(weights, subset)


def chosen(array: np.ndarray, subset: Subset) -> np.ndarray:
    return array if subset.indices is None else rows_of(array, subset.indices)


def classes_of(loss: Loss, subset: Subset) -> np.ndarray | None:
    return loss.class_indices(targets_of(subset))


def choose_threshold(trainer: Trainer, validation: Subset, criterion: str, *, warn: bool) -> None:
    outputs = predicted(trainer.model, validation)
    truth = classes_of(trainer.loss, validation)
    second = np.zeros(len(outputs), bool) if truth is None else truth == 1
    trainer.model.threshold, problem = chosen_threshold(criterion, outputs, second)
    if problem and warn:
        LOG.warning("threshold_for: %s", problem)


def set_temperature(trainer: Trainer, validation: Subset) -> None:
    model = trainer.model
    if model.output_activation == "softmax":
        targets = classes_of(trainer.loss, validation)
    elif model.output_activation == "sigmoid":
        labels = targets_of(validation)
        targets = labels.reshape(len(labels), -1).astype(np.int64)
    else:
        return
    if targets is None:
        return
    scale_temperature(model, inputs_of(validation), targets, weights_of(validation))


def set_intervals(trainer: Trainer, validation: Subset) -> None:
    loss, model = trainer.loss, trainer.model
    quantiles = loss.quantiles if isinstance(loss, Quantiles) else ()
    if not isinstance(loss, WITH_INTERVALS) or (quantiles and 0.5 not in quantiles):
        return
    targets, weights = targets_of(validation), weights_of(validation)
    targets = targets[:, :1] if quantiles else targets
    relative = getattr(model.layers[-1], "log", False)
    outputs = predicted(model, validation)
    model.intervals = fit_intervals(outputs, targets, weights, quantiles, relative)
    if quantiles:
        model.remember(None, [str(each) for each in quantiles], model.output_activation)


def set_prediction_sets(trainer: Trainer, validation: Subset) -> None:
    model, truth = trainer.model, classes_of(trainer.loss, validation)
    activation = model.output_activation or ""
    has_classes = activation == "softmax" or (activation, model.output_shape) in TWO_CLASSES
    if truth is not None and has_classes:
        p = probabilities(predicted(model, validation).astype(np.float64), activation)
        model.prediction_sets = fit_sets(p, truth, weights_of(validation))
