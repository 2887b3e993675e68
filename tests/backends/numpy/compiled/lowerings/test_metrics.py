"""Test which kernels run a metric, and which metrics have none."""

from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn import metrics
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.configurable import known
from gpunn.losses import BinaryCrossEntropy
from gpunn.metrics import ClassMetric, LabelMetric, Metric
from gpunn.metrics.labels import for_loss

BUILT_IN = [cls() for cls in known(Metric).values() if cls.__module__.startswith("gpunn.")]


def steps(encode, metric, outputs, targets):
    predictions, weights = np.zeros((8, outputs), np.float32), np.ones(8, np.float32)
    summary = np.zeros(metric.size(outputs), np.float32)
    return encode("metric", metric, predictions, targets, weights, summary)


@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize("metric", BUILT_IN, ids=repr)
def test_no_built_in_metric_leaves_the_program(encode, metric, outputs):
    numbers, labels = np.zeros((8, outputs), np.float32), np.zeros(8, np.int64)
    kinds = [numbers, labels] if isinstance(metric, ClassMetric) and outputs > 1 else [numbers]
    for targets in kinds:
        made = steps(encode, metric, outputs, targets)
        assert made
        assert all(type(step) is Instruction for step in made)


@pytest.mark.parametrize("outputs", [2, 5])
@pytest.mark.parametrize("name", ["AUC", "BrierScore", "LogLoss"])
def test_metrics_of_several_labels_stay_in_the_program(encode, name, outputs):
    metric = for_loss(getattr(metrics, name)(), BinaryCrossEntropy(), outputs)
    made = steps(encode, metric, outputs, np.zeros((8, outputs), np.float32))
    assert made
    assert all(type(step) is Instruction for step in made)


@pytest.mark.parametrize("metric", BUILT_IN, ids=repr)
def test_labels_are_refused_where_numbers_are_compared(encode, metric):
    labels = np.zeros(8, np.int64)
    refused = not isinstance(metric, ClassMetric)
    assert (steps(encode, metric, 3, labels) is None) == refused
    if isinstance(metric, LabelMetric):
        assert steps(encode, metric, 1, labels) is None


@dataclass(frozen=True)
class Doubled(metrics.Accuracy):
    """Another metric, with the attributes of a built-in one."""

    name = "test_doubled_accuracy"

    def measure(self, xp, predictions, targets, weights):
        return 2 * super().measure(xp, predictions, targets, weights)


def test_a_subclass_is_none_of_the_built_in_ones(encode):
    assert steps(encode, Doubled(), 3, np.zeros(8, np.int64)) is None
