"""Batch and layer normalisation, with their gradients.

Sums over the rows, one for each column, are done by a stack of threads for each column, in kernels
of their own, since several blocks may have rows of it; sums over the columns by a warp for each
row. Formulas and shapes are those of `gpunn.backends.operations`.
"""

from __future__ import annotations

import functools
from typing import Any

import cupy

from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.raw import over_rows, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["batch_norm", "batch_norm_gradient", "layer_norm", "layer_norm_gradient", "normalize"]
__all__ += ["standardize", "unstandardize"]

ROW = r"""
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const long long first = row * columns + threadIdx.x, end = (row + 1) * columns;
"""

# Each block finds the mean of its rows and the sum of squared deviations from it; the last one puts
# them together (Chan, Golub & LeVeque 1983). Nothing cancels where the mean is large.
STATISTICS = rf"""{COLUMNS}
extern "C" __global__ void gpunn_batch_norm_statistics(
    const T* x, T* means, T* inverse_std, T* running_mean, T* running_variance,
    T momentum, T rest, T epsilon, {PARAMETERS}) {{
  {COLUMN}
  T sum = 0, squares = 0;
  for (long long k = first; k < end; k += EACH * step) {{
    T own[EACH];
    load(own, x, k, step, end);
    for (int n = 0; n < EACH; ++n) sum += own[n];
  }}
  sum = column_sum(sum);
  T mean = sum / (bottom - top);
  for (long long k = first; k < end; k += EACH * step) {{
    T own[EACH];
    load(own, x, k, step, end);
    for (int n = 0; n < EACH; ++n)
      if (k + n * step < end) squares += (own[n] - mean) * (own[n] - mean);
  }}
  squares = column_sum(squares);
  if (gridDim.y > 1) {{
    T* const sums = partials + column;
    T* const deviations = sums + gridDim.x * gridDim.y * LANES;
    const long long width = gridDim.x * LANES;
    if (threadIdx.y == 0) {{
      sums[blockIdx.y * width] = sum;
      deviations[blockIdx.y * width] = squares;
    }}
    if (!last_block(tickets + blockIdx.x, gridDim.y)) return;
    sum = squares = 0;
    for (int part = threadIdx.y; part < gridDim.y; part += STACK) sum += sums[part * width];
    mean = column_sum(sum) / rows;
    for (int part = threadIdx.y; part < gridDim.y; part += STACK) {{
      const T count = min(block_rows, rows - part * block_rows);
      const T apart = sums[part * width] / count - mean;
      squares += deviations[part * width] + count * apart * apart;
    }}
    squares = column_sum(squares);
  }}
  if (!inside || threadIdx.y) return;
  const T variance = squares / rows;
  means[column] = mean;
  inverse_std[column] = 1 / sqrt(variance + epsilon);
  running_mean[column] = momentum * running_mean[column] + rest * mean;
  running_variance[column] = momentum * running_variance[column] + rest * variance;
}}
"""

SCALE_AND_SHIFT_GRADIENT = rf"""{COLUMNS}
extern "C" __global__ void gpunn_scale_and_shift_gradient(
    const T* gradient, const T* normalized, T* scale_gradient, T* shift_gradient,
    {PARAMETERS}) {{
  {COLUMN}
  T sums[2] = {{0, 0}};
  for (long long k = first; k < end; k += EACH * step) {{
    T own_g[EACH], own_n[EACH];
    load(own_g, gradient, k, step, end);
    load(own_n, normalized, k, step, end);
    for (int n = 0; n < EACH; ++n) {{
      sums[0] += own_g[n] * own_n[n];
      sums[1] += own_g[n];
    }}
  }}
  if (!column_sums(sums, partials, tickets) || !inside || threadIdx.y) return;
  scale_gradient[column] = sums[0];
  shift_gradient[column] = sums[1];
}}
"""

LAYER_NORM = rf"""
extern "C" __global__ void gpunn_layer_norm(
    const T* __restrict__ x, const T* __restrict__ scale, const T* __restrict__ shift,
    T* __restrict__ normalized, T* __restrict__ inverse_std, T* __restrict__ out,
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
  if (threadIdx.x == 0) inverse_std[row] = inverse;
}}
"""

LAYER_NORM_GRADIENT = rf"""
extern "C" __global__ void gpunn_layer_norm_gradient(
    T* __restrict__ gradient, const T* __restrict__ normalized,
    const T* __restrict__ inverse_std, const T* __restrict__ scale,
    long long rows, long long columns) {{
  {ROW}
  T sum = 0, along = 0;
  for (long long k = first, j = threadIdx.x; k < end; k += LANES, j += LANES) {{
    const T h = scale[j] * gradient[k];
    sum += h;
    along += h * normalized[k];
  }}
  const T mean = warp_sum(sum) / columns, slope = warp_sum(along) / columns;
  const T inverse = inverse_std[row];
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


def standardize(x: Array, mean: Array, std: Array, out: Array) -> None:
    """Set out = (x - mean) / std."""
    standardize_kernel()(x, mean, std, out)


def unstandardize(x: Array, mean: Array, std: Array, *arrays: Array) -> None:
    """Set out = mean + std * x; `arrays` are bounds, if there are any, and out."""
    kernel = clipped_unstandardize_kernel() if len(arrays) > 1 else unstandardize_kernel()
    kernel(x, mean, std, *arrays)


def batch_norm(
    x: Array,
    scale: Array,
    shift: Array,
    running_mean: Array,
    running_variance: Array,
    momentum: float,
    epsilon: float,
    normalized: Array,
    inverse_std: Array,
    out: Array,
    scratch: Scratch,
) -> None:
    """Normalize each column, and update the running averages, in two kernels; all contiguous."""
    T, columns = x.dtype.type, x.shape[1]
    mean = scratch("mean", columns, x.dtype)[:columns]
    kernel = raw_kernel("gpunn_batch_norm_statistics", STATISTICS, T=x.dtype)
    made = mean, inverse_std, running_mean, running_variance
    numbers = T(momentum), T(1 - momentum), T(epsilon)
    over_columns(kernel, x.shape, (x, *made, *numbers), 2, scratch)
    batch_norm_kernel()(x, mean, inverse_std, scale, shift, normalized, out)


def batch_norm_gradient(
    gradient: Array,
    normalized: Array,
    inverse_std: Array,
    scale: Array,
    scale_gradient: Array,
    shift_gradient: Array,
    scratch: Scratch,
) -> None:
    """Turn dL/dy into dL/dx, and give dL/dscale and dL/dshift; all contiguous."""
    sum_gradients(gradient, normalized, scale_gradient, shift_gradient, scratch)
    sums = scale_gradient, shift_gradient, gradient.shape[0]
    batch_norm_gradient_kernel()(normalized, inverse_std, scale, *sums, gradient)


def sum_gradients(
    gradient: Array,
    normalized: Array,
    scale_gradient: Array,
    shift_gradient: Array,
    scratch: Scratch,
) -> None:
    name = "gpunn_scale_and_shift_gradient"
    kernel = raw_kernel(name, SCALE_AND_SHIFT_GRADIENT, T=gradient.dtype)
    given = gradient, normalized, scale_gradient, shift_gradient
    over_columns(kernel, gradient.shape, given, 2, scratch)


def layer_norm(
    x: Array,
    scale: Array,
    shift: Array,
    epsilon: float,
    normalized: Array,
    inverse_std: Array,
    out: Array,
) -> None:
    """Normalize each row, a warp a row; all contiguous."""
    T, (rows, columns) = x.dtype.type, x.shape
    kernel = raw_kernel("gpunn_layer_norm", LAYER_NORM, T=x.dtype)
    arrays = x, scale, shift, normalized, inverse_std, out
    over_rows(kernel, rows, (*arrays, rows, columns, T(epsilon)))


def layer_norm_gradient(
    gradient: Array,
    normalized: Array,
    inverse_std: Array,
    scale: Array,
    scale_gradient: Array,
    shift_gradient: Array,
    scratch: Scratch,
) -> None:
    """Turn dL/dy into dL/dx, and give dL/dscale and dL/dshift; all contiguous."""
    rows, columns = gradient.shape
    sum_gradients(gradient, normalized, scale_gradient, shift_gradient, scratch)
    kernel = raw_kernel("gpunn_layer_norm_gradient", LAYER_NORM_GRADIENT, T=gradient.dtype)
    over_rows(kernel, rows, (gradient, normalized, inverse_std, scale, rows, columns))


@functools.cache
def batch_norm_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T x, T mean, T inverse_std, T scale, T shift",
        "T n, T y",
        "n = (x - mean) * inverse_std; y = scale * n + shift;",
        "gpunn_batch_norm",
    )


@functools.cache
def batch_norm_gradient_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T n, T inverse_std, T scale, T along, T sum, T rows",
        "T g",
        "g = scale * inverse_std * (g - sum / rows - n * (along / rows));",
        "gpunn_batch_norm_gradient",
    )


@functools.cache
def standardize_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T x, T mean, T std", "T y", "y = (x - mean) / std;", "gpunn_standardize"
    )


@functools.cache
def unstandardize_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T x, T mean, T std", "T y", "y = x * std + mean;", "gpunn_unstandardize"
    )


@functools.cache
def clipped_unstandardize_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T x, T mean, T std, T least, T largest",
        "T y",
        """y = x * std + mean;
           y = y < least ? least : y > largest ? largest : y;""",
        "gpunn_clipped_unstandardize",
    )


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
