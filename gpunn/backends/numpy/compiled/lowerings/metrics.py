"""Instructions for metrics."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gpunn import metrics
from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.lowerings.base import Steps, same_kind
from gpunn.backends.numpy.compiled.lowerings.losses import Function, Losses, are_labels, are_numbers
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.recording import Arguments
from gpunn.metrics import Metric
from gpunn.metrics.labels import LabelsAUC, LabelsLogLoss
from gpunn.metrics.ranking import LIMIT, MIN_SUM, SMALLEST_SCALE
from gpunn.typing import Array

Instructions: TypeAlias = list[Instruction]


class Metrics(Losses):
    def metric(self, op: Arguments) -> Steps:
        metric, predictions, targets = op.metric, op.predictions, op.targets
        weights, summary = op.weights, op.summary
        if not same_kind(predictions, weights, summary) or not predictions.size:
            return None
        of_classes = isinstance(metric, metrics.ClassMetric) and predictions.shape[1] > 1
        if not are_numbers(targets, predictions) and not (of_classes and are_labels(targets)):
            return None
        kind = type(metric)
        if kind in SUMMARIES:
            return [*SUMMARIES[kind](self, metric, predictions, targets, weights, summary)]
        values = np.empty(weights.size, predictions.dtype)
        if kind in VALUES and predictions.shape[1] > 1:
            steps = VALUES[kind](self, predictions, targets, values)
        elif kind in FUNCTIONS:
            function = Function(FUNCTIONS[kind], 1 / predictions.shape[1], 0.0)
            steps = [self.sum_over_outputs(function, predictions, targets, values)]
        else:
            return None
        return [*steps, self.weighted_sum(values, weights, summary)]

    # --------------------------------------- means over rows of one value per row

    def _log_loss(self, p: Array, t: Array, values: Array) -> Instructions:
        return [self.softmax_cross_entropy(p, t, values)]

    def _brier_score(self, p: Array, t: Array, values: Array) -> Instructions:
        # The gradient of the cross-entropy is softmax(p) - t.
        distance, ones = np.empty_like(p), np.ones_like(values)
        squared = Function("squared_error", 0.5 if p.shape[1] == 2 else 1.0, 0.0)
        return [
            self.softmax_cross_entropy(p, t, values, distance, ones, ones[:1]),
            self.sum_over_outputs(squared, distance, np.zeros_like(p), values),
        ]

    # --------------------------------------- metrics with other summaries

    def _accuracy(self, _: Any, p: Array, t: Array, weights: Array, summary: Array) -> Instructions:
        predicted, steps = self._classes(p)
        actual, more = self._true_classes(p, t)
        right, last = self._where_right(predicted, actual, weights)
        return [*steps, *more, *last, self.weighted_sum(right, None, summary)]

    def _confusion(
        self, metric: Any, p: Array, t: Array, weights: Array, summary: Array
    ) -> Instructions:
        predicted, steps = self._classes(p, metric.threshold if p.shape[1] <= 2 else None)
        actual, more = self._true_classes(p, t, 0.5 if p.shape[1] == 1 else None)
        right, last = self._where_right(predicted, actual, weights)
        batch = np.empty((3, summary.size // 3), p.dtype)
        counted = (predicted, right), (predicted, weights), (actual, weights)
        return [
            *(*steps, *more, *last),
            Instruction("fill", [batch, batch.size, 0.0], [], [batch]),
            *(add_at(*each, out) for each, out in zip(counted, batch, strict=True)),
            Instruction("add", [batch, summary, summary.size], [batch, summary], [summary]),
        ]

    def _where_right(
        self, predicted: Array, actual: Array, weights: Array
    ) -> tuple[Array, Instructions]:
        right, read = np.empty_like(predicted), [predicted, actual, weights]
        args = [*read, weights.size, right]
        by_rows = [*read, right]
        return right, [Instruction("weights_where_right", args, read, [right], by_rows)]

    def _r2(self, _: Any, p: Array, t: Array, weights: Array, summary: Array) -> Instructions:
        total = np.empty(1, p.dtype)
        read = [p, t, weights, total, summary]
        args = [p, t, weights, total, *p.shape, summary, *summary[1:].reshape(3, -1)]
        return [
            Instruction("sum_up", [weights, None, weights.size, total, 0], [weights], [total]),
            Instruction("r2", args, read, [summary[1:]]),
            Instruction("add", [total, summary, 1], [total, summary[:1]], [summary[:1]]),
        ]

    def _auc(self, metric: Any, p: Array, t: Array, weights: Array, summary: Array) -> Instructions:
        bins, columns = metric.side**2, p.shape[1]
        actual, steps = self._true_classes(p, t, 0.5 if p.shape[1] == 1 else None)
        bin_of_row = np.empty((columns if columns > 2 else 1, weights.size), p.dtype)
        scratch = self.blocks(columns, p)
        args = [p, actual, *p.shape, bins, bin_of_row, scratch, scratch[0].nbytes]
        args += [SMALLEST_SCALE, LIMIT, MIN_SUM]
        return [
            *steps,
            Instruction("bin_scores", args, [p, actual, scratch], [bin_of_row]),
            add_at(bin_of_row, weights, summary),
        ]

    def _auc_of_labels(
        self, metric: Any, p: Array, t: Array, weights: Array, summary: Array
    ) -> Instructions:
        bin_of_row = np.empty(p.shape[::-1], p.dtype)
        args = [p, t, *p.shape, metric.side**2, bin_of_row, SMALLEST_SCALE, LIMIT]
        binned = Instruction("bin_labels", args, [p, t], [bin_of_row])
        return [binned, add_at(bin_of_row, weights, summary)]

    # --------------------------------------- classes

    def _classes(self, x: Array, threshold: float | None = None) -> tuple[Array, Instructions]:
        classes = np.empty(x.shape[0], x.dtype)
        rule = interface.BY_LARGEST if threshold is None else interface.BY_THRESHOLD
        scratch = self.blocks(x.shape[1], x)
        args = [x, *x.shape, classes, rule, scratch, scratch[0].nbytes, float(threshold or 0)]
        return classes, [Instruction("classify", args, [x, scratch], [classes], [x, classes])]

    def _true_classes(
        self, predictions: Array, targets: Array, threshold: float | None = None
    ) -> tuple[Array, Instructions]:
        if targets.ndim == 2:
            return self._classes(targets, threshold)
        classes = np.empty(targets.size, predictions.dtype)
        args = [targets, targets.size, 1, classes, interface.OF_LABELS, None, 0, 0.0]
        by_rows = [targets, classes]
        return classes, [Instruction("classify", args, [targets], [classes], by_rows)]


def add_at(positions: Array, weights: Array, out: Array) -> Instruction:
    columns = positions.size // weights.size
    args = [positions, weights, columns, weights.size, out, out.size // columns]
    return Instruction("add_at", args, [positions, weights, out], [out])


FUNCTIONS: dict[type[Metric], str] = {
    LabelsLogLoss: "binary_cross_entropy",
    metrics.LogLoss: "binary_cross_entropy",
    metrics.MeanAbsoluteError: "absolute_error",
    metrics.RootMeanSquaredError: "squared_error",
}
"""Metrics that are the mean of a function in ROW_FUNCTIONS over rows and outputs. If a metric is
also in `VALUES`, this applies only to models with one output."""

VALUES: dict[type[Metric], Callable[..., Instructions]] = {
    metrics.BrierScore: Metrics._brier_score,
    metrics.LogLoss: Metrics._log_loss,
}
"""Metrics that are a mean over rows, whose values several instructions compute."""

SUMMARIES: dict[type[Metric], Callable[..., Instructions]] = {
    metrics.Accuracy: Metrics._accuracy,
    metrics.AUC: Metrics._auc,
    LabelsAUC: Metrics._auc_of_labels,
    metrics.F1: Metrics._confusion,
    metrics.Precision: Metrics._confusion,
    metrics.R2: Metrics._r2,
    metrics.Recall: Metrics._confusion,
}
"""Metrics that are not a mean over rows, or have a separate kernel."""
