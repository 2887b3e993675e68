"""Metrics of one number: the weighted sum of the rows' scores, in one kernel, a warp a row.

The mathematics is in `gpunn.metrics`. R2, whose summary is longer, runs as defined there.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from gpunn import metrics
from gpunn.backends.cupy.kernels.raw import raw_kernel
from gpunn.backends.cupy.kernels.row_sums import add_over_rows, row_sum_source
from gpunn.backends.cupy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["SCORES", "add_scores"]


@dataclass(frozen=True)
class Score:
    """Statements that set `value` from a row's predictions p and its targets.

    `constants` are attributes of the metric, as numbers T; `labels` says whether the targets may
    be integer labels.
    """

    statements: str
    constants: tuple[str, ...] = ()
    labels: bool = False


def mean_over_outputs(term: str, *constants: str) -> Score:
    """Return a score that is the mean of a term of prediction p[j] and target t[j]."""
    return Score(
        f"""const T* t = targets + row * columns;
    T terms = 0;
    for (long long j = lane; j < columns; j += LANES) terms += {term};
    value = warp_sum(terms) / columns;""",
        constants,
    )


SCORES: dict[type[metrics.Metric], Score] = {
    metrics.Accuracy: Score(
        "value = argmax(p, columns) == true_class(targets, row, columns);", labels=True
    ),
    metrics.TopKAccuracy: Score(
        """const T of_true = p[true_class(targets, row, columns)];
    T above = 0;
    for (long long j = lane; j < columns; j += LANES) above += p[j] > of_true;
    value = warp_sum(above) < k;""",
        ("k",),
        labels=True,
    ),
    metrics.BinaryAccuracy: mean_over_outputs("(p[j] > threshold) == (t[j] > (T)0.5)", "threshold"),
    metrics.MeanAbsoluteError: mean_over_outputs("fabs(p[j] - t[j])"),
    metrics.RootMeanSquaredError: mean_over_outputs("(p[j] - t[j]) * (p[j] - t[j])"),
}

# As NumPy's: the first of the largest, and a NaN is larger than any number.
ARGMAX = r"""
__device__ bool larger(T v, long long i, T than, long long at) {
  if (v != v || than != than) return v != v && (than == than || i < at);
  return v > than || (v == than && i < at);
}
__device__ long long argmax(const T* row, long long columns) {
  long long at = 0;
  T top = row[0];
  for (long long j = threadIdx.x % LANES; j < columns; j += LANES)
    if (larger(row[j], j, top, at)) { top = row[j]; at = j; }
  for (int other = LANES / 2; other; other /= 2) {
    const T v = __shfl_xor_sync(0xffffffff, top, other);
    const long long i = __shfl_xor_sync(0xffffffff, at, other);
    if (larger(v, i, top, at)) { top = v; at = i; }
  }
  return at;
}
__device__ long long true_class(const long long* labels, long long row, long long columns) {
  return labels[row];
}
__device__ long long true_class(const T* probabilities, long long row, long long columns) {
  return argmax(probabilities + row * columns, columns);
}
"""


def add_scores(
    metric: metrics.Metric,
    predictions: Array,
    targets: Array,
    weights: Array,
    total: Array,
    scratch: Scratch,
) -> None:
    """Set total = total + sum_i w_i score_i, one warp a row; all are contiguous.

    Parameters
    ----------
    metric : Metric
        One of SCORES.
    predictions : array, shape (rows, outputs)
    targets : array, shape (rows, outputs), or (rows,) of int64
    weights : array, shape (rows,)
    total : array, shape (1,)
    scratch : Scratch
    """
    score = SCORES[type(metric)]
    source = score_source(metric.name, score)
    kernel = raw_kernel(*source, T=predictions.dtype, Target=targets.dtype)
    constants = [getattr(metric, name) for name in score.constants]
    arrays = predictions, targets
    add_over_rows(kernel, arrays, weights, total, predictions.shape[1], constants, scratch)


@functools.cache
def score_source(name: str, score: Score) -> tuple[str, str]:
    """Return a raw kernel's name and source."""
    name = f"gpunn_{name}_score"
    given = "const T* predictions, const Target* targets,"
    value = f"""const T* p = predictions + row * columns;
    {score.statements}"""
    return name, row_sum_source(name, given, value, score.constants, ARGMAX)
