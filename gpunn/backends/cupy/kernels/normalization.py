"""Batch and layer normalisation, with their gradients.

Statistics over rows (a column's) are summed up by a stack of threads for each column, those over
columns (a row's) by a warp for each row. The formulas are those of `gpunn.backends.base`.
"""

from __future__ import annotations

import functools
from typing import Any

import cupy

from gpunn.backends.cupy.kernels.raw import over_columns, over_rows, raw_kernel
from gpunn.typing import Array

__all__ = ["batch_norm", "batch_norm_gradient", "layer_norm", "layer_norm_gradient", "normalize"]

# A column's elements, for the threads of its stack: k from `first` to `end` in steps of `step`.
# Threads beyond the last column have none, but must stay for the barriers in column_sum.
COLUMN = r"""
  const long long column = (long long)blockIdx.x * LANES + threadIdx.x;
  const bool inside = column < columns;
  const long long first = threadIdx.y * columns + column, step = STACK * columns;
  const long long end = inside ? rows * columns : 0;
"""
ROW = r"""
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const long long first = row * columns + threadIdx.x, end = (row + 1) * columns;
"""

BATCH_NORM = rf"""
extern "C" __global__ void gpunn_batch_norm(
    const T* x, const T* scale, const T* shift, T* running_mean, T* running_variance,
    T* normalized, T* inverse_deviation, T* out, long long rows, long long columns,
    T momentum, T rest, T epsilon) {{
  {COLUMN}
  T sum = 0;
  for (long long k = first; k < end; k += step) sum += x[k];
  const T mean = column_sum(sum) / rows;
  sum = 0;
  for (long long k = first; k < end; k += step) sum += (x[k] - mean) * (x[k] - mean);
  const T variance = column_sum(sum) / rows;
  if (!inside) return;
  const T inverse = 1 / sqrt(variance + epsilon);
  for (long long k = first; k < end; k += step) {{
    const T n = (x[k] - mean) * inverse;
    normalized[k] = n;
    out[k] = scale[column] * n + shift[column];
  }}
  if (threadIdx.y) return;
  inverse_deviation[column] = inverse;
  running_mean[column] = momentum * running_mean[column] + rest * mean;
  running_variance[column] = momentum * running_variance[column] + rest * variance;
}}
"""

BATCH_NORM_GRADIENT = rf"""
extern "C" __global__ void gpunn_batch_norm_gradient(
    T* gradient, const T* normalized, const T* inverse_deviation, const T* scale,
    T* scale_gradient, T* shift_gradient, long long rows, long long columns) {{
  {COLUMN}
  T along = 0, sum = 0;
  for (long long k = first; k < end; k += step) {{
    along += gradient[k] * normalized[k];
    sum += gradient[k];
  }}
  along = column_sum(along);
  sum = column_sum(sum);
  if (!inside) return;
  const T factor = scale[column] * inverse_deviation[column];
  const T mean = sum / rows, slope = along / rows;
  for (long long k = first; k < end; k += step)
    gradient[k] = factor * (gradient[k] - mean - normalized[k] * slope);
  if (threadIdx.y) return;
  scale_gradient[column] = along;
  shift_gradient[column] = sum;
}}
"""

LAYER_NORM = rf"""
extern "C" __global__ void gpunn_layer_norm(
    const T* x, const T* scale, const T* shift, T* normalized, T* inverse_deviation, T* out,
    long long rows, long long columns, T epsilon) {{
  {ROW}
  T sum = 0;
  for (long long k = first; k < end; k += LANES) sum += x[k];
  const T mean = warp_sum(sum) / columns;
  sum = 0;
  for (long long k = first; k < end; k += LANES) sum += (x[k] - mean) * (x[k] - mean);
  const T inverse = 1 / sqrt(warp_sum(sum) / columns + epsilon);
  for (long long k = first, j = threadIdx.x; k < end; k += LANES, j += LANES) {{
    const T n = (x[k] - mean) * inverse;
    normalized[k] = n;
    out[k] = scale[j] * n + shift[j];
  }}
  if (threadIdx.x == 0) inverse_deviation[row] = inverse;
}}
"""

LAYER_NORM_SUMS = rf"""
extern "C" __global__ void gpunn_layer_norm_sums(
    const T* gradient, const T* normalized, T* scale_gradient, T* shift_gradient,
    long long rows, long long columns) {{
  {COLUMN}
  T along = 0, sum = 0;
  for (long long k = first; k < end; k += step) {{
    along += gradient[k] * normalized[k];
    sum += gradient[k];
  }}
  along = column_sum(along);
  sum = column_sum(sum);
  if (!inside || threadIdx.y) return;
  scale_gradient[column] = along;
  shift_gradient[column] = sum;
}}
"""

LAYER_NORM_GRADIENT = rf"""
extern "C" __global__ void gpunn_layer_norm_gradient(
    T* gradient, const T* normalized, const T* inverse_deviation, const T* scale,
    long long rows, long long columns) {{
  {ROW}
  T sum = 0, along = 0;
  for (long long k = first, j = threadIdx.x; k < end; k += LANES, j += LANES) {{
    const T h = scale[j] * gradient[k];
    sum += h;
    along += h * normalized[k];
  }}
  const T mean = warp_sum(sum) / columns, slope = warp_sum(along) / columns;
  const T inverse = inverse_deviation[row];
  for (long long k = first, j = threadIdx.x; k < end; k += LANES, j += LANES)
    gradient[k] = inverse * (scale[j] * gradient[k] - mean - normalized[k] * slope);
}}
"""


def normalize(
    x: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    scale: Array | None,
    shift: Array | None,
    out: Array,
) -> None:
    """Set out = scale * (x - mean) / sqrt(variance + epsilon) + shift, for any layouts."""
    if scale is None or shift is None:
        normalize_kernel()(x, mean, variance, epsilon, out)
    else:
        scaled_normalize_kernel()(x, mean, variance, epsilon, scale, shift, out)


def batch_norm(
    x: Array,
    scale: Array,
    shift: Array,
    running_mean: Array,
    running_variance: Array,
    momentum: float,
    epsilon: float,
    normalized: Array,
    inverse_deviation: Array,
    out: Array,
) -> None:
    """Normalize each column, and update the running averages; all contiguous."""
    T, (rows, columns) = x.dtype.type, x.shape
    kernel = raw_kernel("gpunn_batch_norm", BATCH_NORM, T=x.dtype)
    given = x, scale, shift, running_mean, running_variance
    made = normalized, inverse_deviation, out
    numbers = T(momentum), T(1 - momentum), T(epsilon)
    over_columns(kernel, columns, (*given, *made, rows, columns, *numbers))


def batch_norm_gradient(
    gradient: Array,
    normalized: Array,
    inverse_deviation: Array,
    scale: Array,
    scale_gradient: Array,
    shift_gradient: Array,
) -> None:
    """Turn dL/dy into dL/dx, and give dL/dscale and dL/dshift; all contiguous."""
    rows, columns = gradient.shape
    kernel = raw_kernel("gpunn_batch_norm_gradient", BATCH_NORM_GRADIENT, T=gradient.dtype)
    given = gradient, normalized, inverse_deviation, scale
    over_columns(kernel, columns, (*given, scale_gradient, shift_gradient, rows, columns))


def layer_norm(
    x: Array,
    scale: Array,
    shift: Array,
    epsilon: float,
    normalized: Array,
    inverse_deviation: Array,
    out: Array,
) -> None:
    """Normalize each row; all contiguous."""
    T, (rows, columns) = x.dtype.type, x.shape
    kernel = raw_kernel("gpunn_layer_norm", LAYER_NORM, T=x.dtype)
    arrays = x, scale, shift, normalized, inverse_deviation, out
    over_rows(kernel, rows, (*arrays, rows, columns, T(epsilon)))


def layer_norm_gradient(
    gradient: Array,
    normalized: Array,
    inverse_deviation: Array,
    scale: Array,
    scale_gradient: Array,
    shift_gradient: Array,
) -> None:
    """Turn dL/dy into dL/dx, and give dL/dscale and dL/dshift; all contiguous."""
    rows, columns = gradient.shape
    sums = raw_kernel("gpunn_layer_norm_sums", LAYER_NORM_SUMS, T=gradient.dtype)
    kernel = raw_kernel("gpunn_layer_norm_gradient", LAYER_NORM_GRADIENT, T=gradient.dtype)
    sizes = rows, columns
    over_columns(sums, columns, (gradient, normalized, scale_gradient, shift_gradient, *sizes))
    over_rows(kernel, rows, (gradient, normalized, inverse_deviation, scale, *sizes))


@functools.cache
def normalize_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T x, T mean, T variance, T epsilon",
        "T y",
        "y = (x - mean) / sqrt(variance + epsilon);",
        "gpunn_normalize",
    )


@functools.cache
def scaled_normalize_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T x, T mean, T variance, T epsilon, T scale, T shift",
        "T y",
        "y = scale * (x - mean) / sqrt(variance + epsilon) + shift;",
        "gpunn_scaled_normalize",
    )
