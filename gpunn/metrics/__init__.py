"""Metrics, computed on the device beside the loss.

`measure` turns each batch into a short vector, its summary. `combine` merges the summaries of
batches into that of an epoch: on the device, and between report points on the host, in float64.
`result` computes the metric from the last summary. A new metric is a subclass with `measure`, and
with `result` if that is not sum / weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunn.configurable import missing_class
from gpunn.metrics.accuracy import Accuracy, BinaryAccuracy, TopKAccuracy
from gpunn.metrics.base import ClassMetric, LabelMetric, Metric, ValueMetric
from gpunn.metrics.confusion import F1, Precision, Recall
from gpunn.metrics.probability import BrierScore, LogLoss
from gpunn.metrics.ranking import AUC
from gpunn.metrics.regression import R2, MeanAbsoluteError, RootMeanSquaredError

__all__ = [
    "AUC",
    "F1",
    "R2",
    "Accuracy",
    "BinaryAccuracy",
    "BrierScore",
    "ClassMetric",
    "LabelMetric",
    "LogLoss",
    "MeanAbsoluteError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "TopKAccuracy",
    "ValueMetric",
]

if not TYPE_CHECKING:  # else every name would be taken for one of this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Metric, name)
