"""Metrics that add up the weights of rows by class, or by class and bin of the score.

One kernel finds where each row counts, a warp a row. Another adds the weights up, a warp for each
number of the summary, in the order of the rows: without atomics, so the bits are the same each
time. The mathematics is in `gpunn.metrics`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn import metrics
from gpunn.backends.cupy.kernels.classes import CLASSES
from gpunn.backends.cupy.kernels.raw import over_rows, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.metrics.ranking import LEAST_SUM, LIMIT, SMALLEST_SCALE
from gpunn.typing import Array

__all__ = ["count_bins", "count_classes"]

ROW = r"""
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const T* const p = predictions + row * columns;
  const long long actual = actual_class(targets, row, columns);
"""

ACTUAL = r"""
// The one number of a row with one output says whether it is of class 1.
__device__ long long actual_class(const long long* labels, long long row, long long columns) {
  return labels[row];
}
__device__ long long actual_class(const T* targets, long long row, long long columns) {
  return columns == 1 ? targets[row] > (T)0.5 : true_class(targets, row, columns);
}
"""

# The class if it is right, else -1; the predicted one; the actual one.
CLASSIFY = rf"""{CLASSES}{ACTUAL}
extern "C" __global__ void gpunn_classify(
    const T* predictions, const Target* targets, long long* places,
    long long rows, long long columns, T threshold) {{
  {ROW}
  long long predicted;
  if (columns > 2) predicted = argmax(p, columns);
  else predicted = (columns == 2 ? p[1] - p[0] : p[0]) > threshold;
  if (threadIdx.x) return;
  places[row] = predicted == actual ? actual : -1;
  places[rows + row] = predicted;
  places[2 * rows + row] = actual;
}}
"""

# The bin of the score, counted from the class's own rows and then from all others, or -1 for NaN.
BIN_SCORES = rf"""{CLASSES}{ACTUAL}
__device__ long long place_of(T score, bool own, long long bins, T scale, T factor, T middle) {{
  const T bin = floor(asinh(score / scale) * factor + middle);
  if (bin != bin) return -1;
  const T last = bins - 1;
  return (long long)(bin < 0 ? (T)0 : bin > last ? last : bin) + (own ? 0 : bins);
}}

extern "C" __global__ void gpunn_bin_scores(
    const T* predictions, const Target* targets, long long* places,
    long long rows, long long columns, long long bins, T scale, T factor, T middle, T least) {{
  {ROW}
  if (columns <= 2) {{
    const T score = columns == 2 ? p[1] - p[0] : p[0];
    if (threadIdx.x == 0) places[row] = place_of(score, actual == 1, bins, scale, factor, middle);
    return;
  }}
  const long long best = argmax(p, columns);
  T beside = 0;
  // A product, so that a row with an infinite logit has no score, as it is defined.
  for (long long j = threadIdx.x; j < columns; j += LANES)
    beside += (T)(j != best) * exp(p[j] - p[best]);
  beside = warp_sum(beside);
  for (long long j = threadIdx.x; j < columns; j += LANES) {{
    const T shifted = p[j] - p[best];
    const T others = j == best ? beside : beside + (1 - exp(shifted));
    const T score = shifted - log(others < least ? least : others);
    places[j * rows + row] = place_of(score, actual == j, bins, scale, factor, middle);
  }}
}}
"""

ADD_AT = r"""
extern "C" __global__ void gpunn_add_at(
    const long long* places, const T* weights, T* out,
    long long rows, long long each, long long size) {
  const long long at = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (at >= size) return;
  const long long part = at / each, place = at - part * each;
  T sum = 0;
  for (long long row = threadIdx.x; row < rows; row += LANES)
    if (places[part * rows + row] == place) sum += weights[row];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) out[at] += sum;
}
"""


def count_classes(
    metric: Any,
    predictions: Array,
    targets: Array,
    weights: Array,
    summary: Array,
    scratch: Scratch,
) -> None:
    """Add TP, TP + FP and TP + FN of a batch to the summary; all arrays are contiguous.

    Parameters
    ----------
    metric : Precision, Recall or F1
    predictions : array, shape (rows, outputs)
    targets : array, shape (rows, outputs), or (rows,) of int64
    weights : array, shape (rows,)
    summary : array, shape (3 * max(outputs, 2),)
    scratch : Scratch
    """
    (rows, columns), dtype = predictions.shape, predictions.dtype
    places = scratch("places", 3 * rows, np.dtype(np.int64))
    kernel = raw_kernel("gpunn_classify", CLASSIFY, T=dtype, Target=targets.dtype)
    given = predictions, targets, places, rows, columns, dtype.type(metric.threshold)
    over_rows(kernel, rows, given)
    add_at(places, weights, summary, summary.size // 3)


def count_bins(
    metric: metrics.AUC,
    predictions: Array,
    targets: Array,
    weights: Array,
    summary: Array,
    scratch: Scratch,
) -> None:
    """Add the weights in each bin of a batch to the summary; all arrays are contiguous.

    Parameters
    ----------
    metric : AUC
    predictions : array, shape (rows, outputs)
    targets : array, shape (rows, outputs), or (rows,) of int64
    weights : array, shape (rows,)
    summary : array, shape (classes * 2 * bins,)
        Where there are one or two outputs, there is one class.
    scratch : Scratch
    """
    (rows, columns), dtype, bins = predictions.shape, predictions.dtype, metric.side**2
    places = scratch("places", summary.size // (2 * bins) * rows, np.dtype(np.int64))
    kernel = raw_kernel("gpunn_bin_scores", BIN_SCORES, T=dtype, Target=targets.dtype)
    numbers = SMALLEST_SCALE, bins / (2 * LIMIT), (bins + 1) / 2, LEAST_SUM
    given = predictions, targets, places, rows, columns, bins, *map(dtype.type, numbers)
    over_rows(kernel, rows, given)
    add_at(places, weights, summary, 2 * bins)


def add_at(places: Array, weights: Array, out: Array, each: int) -> None:
    """Add the weights of rows at their places of each part of `out`.

    Parameters
    ----------
    places : array of int64, shape (parts * rows,), or longer
        For each part, the index in it of each row, or -1.
    weights : array, shape (rows,)
    out : array, shape (parts * each,)
    each : int
        Length of a part.
    """
    if weights.size:
        kernel = raw_kernel("gpunn_add_at", ADD_AT, T=weights.dtype)
        over_rows(kernel, out.size, (places, weights, out, weights.size, each, out.size))
