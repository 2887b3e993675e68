"""The metrics that have their own kernels; `gpunn.metrics` has the mathematics.

The kernels of all other metrics are printed from the metrics' traced definitions.
"""

from collections.abc import Callable
from typing import TypeAlias

from gpunn import metrics
from gpunn.backends.cupy.kernels.counts import count_bins, count_classes
from gpunn.backends.cupy.kernels.r2 import combine_r2
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments

Launch: TypeAlias = Callable[[Arguments, Scratch], None]

METRICS: dict[type[metrics.Metric], Launch] = {
    metrics.AUC: count_bins,
    metrics.F1: count_classes,
    metrics.Precision: count_classes,
    metrics.R2: combine_r2,
    metrics.Recall: count_classes,
}
"""For each of these metrics, the function that adds a batch's summary to the summary so far."""
