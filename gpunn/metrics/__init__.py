"""Metrics, computed on the device together with the loss.

`measure` reduces each batch to a short vector, the summary of the batch. `combine` merges the
summaries of batches into the summary of an epoch, on the device between two logging steps, and on
the host, in float64, at logging steps. `result` computes the metric from the epoch's summary. To
define a new metric, write a subclass with `measure`. If the metric is not a sum divided by the sum
of weights, also write `result`. A parameter outside its documented range raises an `ArgumentError`.
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

if not TYPE_CHECKING:  # otherwise mypy would accept any name from this module

    def __getattr__(name: str) -> None:
        raise missing_class(__name__, Metric, name)
