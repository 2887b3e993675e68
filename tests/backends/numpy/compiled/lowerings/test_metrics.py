"""Test which metrics have kernels, and that all built-in metrics stay in the program."""

from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn import metrics
from gpunn.backends.numpy.compiled.backend import CompiledBackend
from gpunn.backends.numpy.compiled.lowerings.metrics import FUNCTIONS, SUMMARIES, VALUES
from gpunn.backends.numpy.compiled.program import Table
from gpunn.backends.recording import record
from gpunn.configurable import known
from gpunn.losses import BinaryCrossEntropy
from gpunn.metrics import AUC, BrierScore, ClassMetric, LabelMetric, LogLoss, Metric
from gpunn.metrics.labels import for_loss

BUILT_IN = [cls() for cls in known(Metric).values() if cls.__module__.startswith("gpunn.")]
OF_LABELS = [for_loss(each, BinaryCrossEntropy(), 2) for each in (AUC(), BrierScore(), LogLoss())]


def arguments(metric, outputs, targets):
    predictions, weights = np.zeros((8, outputs), np.float32), np.ones(8, np.float32)
    return metric, predictions, targets, weights, np.zeros(metric.size(outputs), np.float32)


@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize("metric", [*BUILT_IN, *OF_LABELS], ids=repr)
def test_no_built_in_metric_leaves_the_program(metric, outputs):
    backend = CompiledBackend(2)
    numbers, labels = np.zeros((8, outputs), np.float32), np.zeros(8, np.int64)
    of_classes = isinstance(metric, ClassMetric) and metric not in OF_LABELS and outputs > 1
    for targets in [numbers, labels] if of_classes else [numbers]:
        given = arguments(metric, outputs, targets)
        program = backend._program(record(lambda given=given: backend.metric(*given), backend))
        assert [type(each) for each in program._steps] == [Table]


@pytest.mark.parametrize("kind", [*FUNCTIONS, *VALUES, *SUMMARIES])
def test_labels_are_refused_where_numbers_are_compared(encode, kind):
    metric, labels = kind(), np.zeros(8, np.int64)
    refused = not isinstance(metric, ClassMetric)
    assert (encode("metric", *arguments(metric, 3, labels)) is None) == refused
    if isinstance(metric, LabelMetric):
        assert encode("metric", *arguments(metric, 1, labels)) is None


@dataclass(frozen=True)
class Doubled(metrics.Accuracy):
    """Another metric, with the attributes of a built-in one."""

    name = "test_doubled_accuracy"

    def measure(self, xp, predictions, targets, weights):
        return 2 * super().measure(xp, predictions, targets, weights)


def test_a_subclass_is_none_of_the_built_in_ones(encode):
    assert encode("metric", *arguments(Doubled(), 3, np.zeros(8, np.int64))) is None
