"""Metrics of one number: each row's weighted contribution, a warp a row.

The mathematics is in `gpunn.metrics`. R2, whose summary is longer, runs as defined there.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from gpunn import metrics
from gpunn.backends.cupy.kernels.raw import over_rows, raw_kernel
from gpunn.typing import Array

__all__ = ["SCORES", "row_scores"]


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
  T sum = 0;
  for (long long j = threadIdx.x; j < columns; j += LANES) sum += {term};
  value = warp_sum(sum) / columns;""",
        constants,
    )


SCORES: dict[type[metrics.Metric], Score] = {
    metrics.Accuracy: Score(
        "value = argmax(p, columns) == true_class(targets, row, columns);", labels=True
    ),
    metrics.TopKAccuracy: Score(
        """const T of_true = p[true_class(targets, row, columns)];
  T above = 0;
  for (long long j = threadIdx.x; j < columns; j += LANES) above += p[j] > of_true;
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
  for (long long j = threadIdx.x; j < columns; j += LANES)
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


def row_scores(
    metric: metrics.Metric, predictions: Array, targets: Array, weights: Array, out: Array
) -> None:
    """Set out[i] = w_i times the score of row i; all contiguous."""
    score, dtype, (rows, columns) = SCORES[type(metric)], predictions.dtype, predictions.shape
    kernel = raw_kernel(*score_source(metric.name, score), T=dtype, Target=targets.dtype)
    constants = [dtype.type(getattr(metric, name)) for name in score.constants]
    over_rows(kernel, rows, (predictions, targets, weights, out, rows, columns, *constants))


@functools.cache
def score_source(name: str, score: Score) -> tuple[str, str]:
    """Return a raw kernel's name and source."""
    name = f"gpunn_{name}_score"
    constants = "".join(f", T {constant}" for constant in score.constants)
    source = f"""{ARGMAX}
extern "C" __global__ void {name}(
    const T* predictions, const Target* targets, const T* weights, T* weighted,
    long long rows, long long columns{constants}) {{
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const T* p = predictions + row * columns;
  T value;
  {score.statements}
  if (threadIdx.x == 0) weighted[row] = weights[row] * value;
}}
"""
    return name, source
