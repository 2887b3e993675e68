"""Metrics."""

from __future__ import annotations

import numpy as np

from gpunn import metrics
from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.metrics import Metric
from gpunn.typing import Array

__all__ = ["Metrics"]


class Metrics(Forms):
    """Metrics."""

    def metric(
        self, metric: Metric, predictions: Array, targets: Array, weights: Array, summary: Array
    ) -> Steps:
        known = type(metric) is metrics.Accuracy and targets.ndim == 1
        if not known or not same_kind(predictions, weights, summary):
            return None
        rows, classes = predictions.shape
        correct = np.empty(rows, predictions.dtype)
        args = [predictions, targets, rows, classes, correct]
        read = [predictions, targets]
        return [
            Instruction("accuracy", args, read, [correct]),
            self.weighted_sum(correct, weights, summary),
        ]
