"""Metrics for multilabel targets, which replace the metrics for one class per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpunn.activations import sigmoid
from gpunn.configurable import field_names
from gpunn.errors import DataError
from gpunn.losses import BinaryCrossEntropy, Loss, refuse_rows
from gpunn.metrics.base import LabelMetric, Metric, weighted_sum
from gpunn.metrics.confusion import F1, CountMetric, Precision, Recall
from gpunn.metrics.probability import BrierScore, LogLoss
from gpunn.metrics.ranking import AUC
from gpunn.typing import Array, Namespace


class OfLabels(LabelMetric):
    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        wrong = (targets < 0) | (targets > 1)
        needs = f"metric {self.name!r} needs 0 or 1 for each label"
        refuse_rows(wrong, targets, needs, of=" of y")


@dataclass(frozen=True)
class LabelsAUC(OfLabels, AUC):
    def parts(self, outputs: int) -> int:
        return outputs

    def scores(self, xp: Namespace, predictions: Array, targets: Array) -> tuple[Array, Array]:
        return predictions, xp.astype(targets > 0.5, predictions.dtype)


@dataclass(frozen=True)
class LabelsLogLoss(OfLabels, LogLoss):
    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        return weighted_sum(xp, BinaryCrossEntropy().values(xp, predictions, targets), weights)


@dataclass(frozen=True)
class LabelsBrierScore(OfLabels, BrierScore):
    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        distance = sigmoid(xp, predictions) - targets
        return weighted_sum(xp, xp.mean(distance * distance, axis=1), weights)


@dataclass(frozen=True)
class CountOfLabels(OfLabels, CountMetric):
    leaves_out: ClassVar[bool] = False

    def size(self, outputs: int) -> int:
        return 3 * outputs

    def check_targets(self, targets: np.ndarray, outputs: int) -> None:
        super().check_targets(targets, outputs)
        if self.average == "binary":
            raise DataError(
                f"metric {self.name!r} with average='binary' is for two classes, but there are "
                f"{outputs} labels; use average='macro' or 'micro'"
            )

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        weights = weights[:, None]
        predicted = xp.astype(predictions > self.threshold, predictions.dtype) * weights
        actual = xp.astype(targets > 0.5, predictions.dtype)
        counts = predicted * actual, predicted, actual * weights
        return xp.concat([xp.sum(each, axis=0) for each in counts])


@dataclass(frozen=True)
class LabelsF1(CountOfLabels, F1):
    pass


@dataclass(frozen=True)
class LabelsPrecision(CountOfLabels, Precision):
    pass


@dataclass(frozen=True)
class LabelsRecall(CountOfLabels, Recall):
    pass


OF_LABELS: dict[type[Metric], type[Metric]] = {
    AUC: LabelsAUC,
    BrierScore: LabelsBrierScore,
    F1: LabelsF1,
    LogLoss: LabelsLogLoss,
    Precision: LabelsPrecision,
    Recall: LabelsRecall,
}
OF_CLASSES = {labels: classes for classes, labels in OF_LABELS.items()}


def for_loss(metric: Metric, loss: Loss, outputs: int) -> Metric:
    are_labels = outputs > 1 and loss.output_activation == "sigmoid"
    kind = (OF_LABELS if are_labels else OF_CLASSES).get(type(metric))
    if kind is None:
        return metric
    return kind(**{name: getattr(metric, name) for name in field_names(type(metric))})
