"""Metrics that sum the rows' weights for each class, or for each class and bin of the score.

The first kernel finds each row's index in the metric's summary array, with one warp per row. The
second kernel adds the rows' weights in a fixed order and without atomics, so every run is bitwise
identical. The mathematics is in `gpunn.metrics`.
"""

from typing import Any

import numpy as np

from gpunn.backends.cupy.kernels.classes import CLASSES
from gpunn.backends.cupy.kernels.raw import over_rows, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments
from gpunn.metrics.ranking import LIMIT, MIN_SUM, SMALLEST_SCALE

ROW = r"""
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const T* const p = predictions + row * columns;
  const long long actual = actual_class(targets, row, columns);
"""

ACTUAL = r"""
// A row with one output has class 1 if its target exceeds 0.5.
__device__ long long actual_class(const long long* labels, long long row, long long columns) {
  return labels[row];
}
__device__ long long actual_class(const T* targets, long long row, long long columns) {
  return columns == 1 ? targets[row] > (T)0.5 : argmax(targets + row * columns, columns);
}
"""

# Three indices for each row: the class if the prediction is correct, otherwise -1; the predicted
# class; the actual class.
CLASSIFY = rf"""{CLASSES}{ACTUAL}
extern "C" __global__ void gpunn_classify(
    const T* predictions, const Target* targets, long long* indices,
    long long rows, long long columns, T threshold) {{
  {ROW}
  long long predicted;
  if (columns > 2) predicted = argmax(p, columns);
  else predicted = (columns == 2 ? p[1] - p[0] : p[0]) > threshold;
  if (threadIdx.x) return;
  indices[row] = predicted == actual ? actual : -1;
  indices[rows + row] = predicted;
  indices[2 * rows + row] = actual;
}}
"""

# The bin of the score, or -1 for NaN. Rows of the class come first, then bins of all other rows.
BIN_SCORES = rf"""{CLASSES}{ACTUAL}
__device__ long long index_of(T score, bool own, long long bins, T scale, T factor, T middle) {{
  const T bin = floor(asinh(score / scale) * factor + middle);
  if (bin != bin) return -1;
  const T last = bins - 1;
  return (long long)(bin < 0 ? (T)0 : bin > last ? last : bin) + (own ? 0 : bins);
}}

extern "C" __global__ void gpunn_bin_scores(
    const T* predictions, const Target* targets, long long* indices,
    long long rows, long long columns, long long bins, T scale, T factor, T middle, T minimum) {{
  {ROW}
  if (columns <= 2) {{
    const T score = columns == 2 ? p[1] - p[0] : p[0];
    if (threadIdx.x == 0) indices[row] = index_of(score, actual == 1, bins, scale, factor, middle);
    return;
  }}
  const long long best = argmax(p, columns);
  T without_best = 0;
  // A product, so that a row with an infinite logit has the score NaN, as `gpunn.metrics` defines.
  for (long long j = threadIdx.x; j < columns; j += LANES)
    without_best += (T)(j != best) * exp(p[j] - p[best]);
  without_best = warp_sum(without_best);
  for (long long j = threadIdx.x; j < columns; j += LANES) {{
    const T shifted = p[j] - p[best];
    const T others = j == best ? without_best : without_best + (1 - exp(shifted));
    const T score = shifted - log(others < minimum ? minimum : others);
    indices[j * rows + row] = index_of(score, actual == j, bins, scale, factor, middle);
  }}
}}
"""

# A warp handles a row of the batch and a part of the summary. If no earlier row has the same index,
# it adds the weights of this row and of later rows with the index. So the time does not depend on
# the summary's size, which is 8192 numbers for each class of `AUC`.
ADD_AT = r"""
enum { STEPS = 4 };

extern "C" __global__ void gpunn_add_at(
    const long long* all_indices, const T* weights, T* out,
    long long rows, long long parts, long long each) {
  const long long warp = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  const long long part = warp / rows, row = warp - part * rows, lane = threadIdx.x;
  if (part >= parts) return;
  const long long* const indices = all_indices + part * rows;
  const long long index = indices[row];
  if (index < 0) return;
  for (long long start = lane; start - lane < row; start += STEPS * LANES) {
    bool found = false;
#pragma unroll
    for (int n = 0; n < STEPS; ++n) {
      const long long k = start + n * LANES;
      found |= (k < row ? indices[k] : -1) == index;
    }
    if (__ballot_sync(0xffffffff, found)) return;
  }
  T sum = 0;
  for (long long k = row / LANES * LANES + lane; k < rows; k += LANES)
    if (indices[k] == index) sum += weights[k];
  sum = warp_sum(sum);
  if (lane == 0) out[part * each + index] += sum;
}
"""


def count_classes(op: Arguments, scratch: Scratch) -> None:
    threshold = op.predictions.dtype.type(op.metric.threshold)
    add_at_indices(op, "gpunn_classify", CLASSIFY, 3, [threshold], scratch)


def count_bins(op: Arguments, scratch: Scratch) -> None:
    bins = op.metric.side**2
    parts = op.summary.size // (2 * bins)  # one for each class, or one for 1 or 2 outputs
    constants = SMALLEST_SCALE, bins / (2 * LIMIT), (bins + 1) / 2, MIN_SUM
    numbers = [bins, *map(op.predictions.dtype.type, constants)]
    add_at_indices(op, "gpunn_bin_scores", BIN_SCORES, parts, numbers, scratch)


def add_at_indices(
    op: Arguments, name: str, source: str, parts: int, numbers: list[Any], scratch: Scratch
) -> None:
    (rows, columns), dtype = op.predictions.shape, op.predictions.dtype
    indices = scratch("indices", parts * rows, np.dtype(np.int64))
    find = raw_kernel(name, source, T=dtype, Target=op.targets.dtype)
    over_rows(find, rows, (op.predictions, op.targets, indices, rows, columns, *numbers))
    if rows:
        add = raw_kernel("gpunn_add_at", ADD_AT, T=dtype)
        sizes = rows, parts, op.summary.size // parts
        over_rows(add, rows * parts, (indices, op.weights, op.summary, *sizes))
