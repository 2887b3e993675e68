"""Batch and layer normalization, with their gradients.

A warp sums a row over its columns. In a sum over rows, several threads share a column. The kernels
of sums over rows compute nothing else, because several blocks may share a column.
`gpunn.backends.operations` defines formulas and shapes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import partial
from typing import Any

import cupy

from gpunn.backends.cupy.kernels.activations import FORMULAS, constants_of
from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import Calls, over_rows, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments
from gpunn.typing import Array

__all__ = ["STANDARDIZE", "batch_norm", "batch_norm_gradient", "layer_norm", "layer_norm_activate"]
__all__ += ["layer_norm_gradient", "normalize", "unstandardize"]

ROW = r"""
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const long long first = row * columns + threadIdx.x, end = (row + 1) * columns;
"""

# Each block computes the mean of its rows and the sum of squared deviations from it; the last block
# combines them (Chan, Golub & LeVeque 1983). A large mean causes no cancellation.
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
      const T difference = sums[part * width] / count - mean;
      squares += deviations[part * width] + count * difference * difference;
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

BATCH_NORM = cupy.ElementwiseKernel(
    "T x, T mean, T inverse_std, T scale, T shift",
    "T n, T y",
    "n = (x - mean) * inverse_std; y = scale * n + shift;",
    "gpunn_batch_norm",
)
BATCH_NORM_GRADIENT = cupy.ElementwiseKernel(
    "T n, T inverse_std, T scale, T along, T sum, T rows",
    "T g",
    "g = scale * inverse_std * (g - sum / rows - n * (along / rows));",
    "gpunn_batch_norm_gradient",
)
STANDARDIZE = cupy.ElementwiseKernel(
    "T x, T mean, T std", "T y", "y = (x - mean) / std;", "gpunn_standardize"
)
UNSTANDARDIZE = cupy.ElementwiseKernel(
    "T x, T mean, T std", "T y", "y = x * std + mean;", "gpunn_unstandardize"
)
CLIPPED_UNSTANDARDIZE = cupy.ElementwiseKernel(
    "T x, T mean, T std, T least, T largest",
    "T y",
    """y = x * std + mean;
       y = y < least ? least : y > largest ? largest : y;""",
    "gpunn_clipped_unstandardize",
)
NORMALIZE = cupy.ElementwiseKernel(
    "T x, T mean, T variance, T epsilon",
    "T y",
    "y = (x - mean) / sqrt(variance + epsilon);",
    "gpunn_normalize",
)
SCALED_NORMALIZE = cupy.ElementwiseKernel(
    "T x, T mean, T variance, T epsilon, T scale, T shift",
    "T y",
    "y = scale * (x - mean) / sqrt(variance + epsilon) + shift;",
    "gpunn_scaled_normalize",
)


def normalize(op: Arguments) -> Calls:
    """Normalize with a given mean and variance, then scale and shift if these are given."""
    moments = op.x, op.mean, op.variance, op.epsilon
    if op.scale is None or op.shift is None:
        return [partial(NORMALIZE, *moments, op.out)]
    return [partial(SCALED_NORMALIZE, *moments, op.scale, op.shift, op.out)]


def unstandardize(op: Arguments) -> Calls:
    """Undo `standardize`, and clip to the bounds if given; arrays have any layout."""
    inputs = op.x, op.mean, op.std
    if op.least is None or op.largest is None:
        return [partial(UNSTANDARDIZE, *inputs, op.out)]
    return [partial(CLIPPED_UNSTANDARDIZE, *inputs, op.least, op.largest, op.out)]


def batch_norm(op: Arguments, scratch: Scratch) -> None:
    """Normalize each column and update running averages, in two kernels; arrays are contiguous."""
    x, momentum = op.x, op.momentum
    T, columns = x.dtype.type, x.shape[1]
    mean = scratch("mean", columns, x.dtype)[:columns]
    kernel = raw_kernel("gpunn_batch_norm_statistics", STATISTICS, T=x.dtype)
    outputs = mean, op.inverse_std, op.running_mean, op.running_variance
    numbers = T(momentum), T(1 - momentum), T(op.epsilon)
    over_columns(kernel, x.shape, (x, *outputs, *numbers), 2, scratch)
    BATCH_NORM(x, mean, op.inverse_std, op.scale, op.shift, op.normalized, op.out)


def batch_norm_gradient(op: Arguments, scratch: Scratch) -> None:
    """Turn dL/dy into dL/dx, and set dL/dscale and dL/dshift; all arrays are contiguous."""
    sum_gradients(op, scratch)
    sums = op.scale_gradient, op.shift_gradient, op.gradient.shape[0]
    BATCH_NORM_GRADIENT(op.normalized, op.inverse_std, op.scale, *sums, op.gradient)


def sum_gradients(op: Arguments, scratch: Scratch) -> None:
    name = "gpunn_scale_and_shift_gradient"
    kernel = raw_kernel(name, SCALE_AND_SHIFT_GRADIENT, T=op.gradient.dtype)
    arrays = op.gradient, op.normalized, op.scale_gradient, op.shift_gradient
    over_columns(kernel, op.gradient.shape, arrays, 2, scratch)


def layer_norm(op: Arguments) -> Calls:
    """Normalize each row, with one warp per row; all arrays are contiguous."""
    return normalized_rows(op, op.out, "gpunn_layer_norm")


def layer_norm_activate(op: Arguments) -> Calls:
    """Normalize each row and apply a function, with one warp per row; arrays are contiguous."""
    f, formula = op.activation, FORMULAS[type(op.activation)]
    parameters = f", T* __restrict__ out{formula.parameters}"
    source = f"gpunn_layer_norm_{f.name}", parameters, f"T a; {formula.value} out[k] = a;"
    return normalized_rows(op, op.z, *source, more=(op.out, *constants_of(f, op.x.dtype.type)))


def normalized_rows(op: Arguments, z: Array, *source: str, more: Sequence[Any] = ()) -> Calls:
    """Return the launch of a kernel of `layer_norm_source`; z is the result of the norm."""
    rows, columns = op.x.shape
    kernel = raw_kernel(source[0], layer_norm_source(*source), T=op.x.dtype)
    arrays = op.x, op.scale, op.shift, op.normalized, op.inverse_std, z
    arguments = *arrays, rows, columns, op.x.dtype.type(op.epsilon), *more
    return [partial(over_rows, kernel, rows, arguments)]


@functools.cache
def layer_norm_source(name: str, parameters: str = "", statements: str = "") -> str:
    """Return the source of a kernel that normalizes rows.

    `statements` use an element z of the result, at index k. The kernel has additional `parameters`.
    """
    return f"""{FUNCTIONS}
extern "C" __global__ void {name}(
    const T* __restrict__ x, const T* __restrict__ scales, const T* __restrict__ shifts,
    T* __restrict__ normalized, T* __restrict__ inverse_std, T* __restrict__ values_z,
    long long rows, long long columns, T epsilon{parameters}) {{
  {ROW}
  T sum = 0;
  for (long long k = first; k < end; k += LANES) sum += x[k];
  const T mean = warp_sum(sum) / columns;
  sum = 0;
  for (long long k = first; k < end; k += LANES) sum += (x[k] - mean) * (x[k] - mean);
  const T inverse = 1 / sqrt(warp_sum(sum) / columns + epsilon);
  for (long long k = first, j = threadIdx.x; k < end; k += LANES, j += LANES) {{
    const T normal = (x[k] - mean) * inverse;
    normalized[k] = normal;
    const T z = scales[j] * normal + shifts[j];
    values_z[k] = z;
    {statements}
  }}
  if (threadIdx.x == 0) inverse_std[row] = inverse;
}}
"""


def layer_norm_gradient(op: Arguments, scratch: Scratch) -> None:
    """Turn dL/dy into dL/dx, and set dL/dscale and dL/dshift; all arrays are contiguous."""
    sum_gradients(op, scratch)
    rows, columns = op.gradient.shape
    kernel = raw_kernel("gpunn_layer_norm_gradient", LAYER_NORM_GRADIENT, T=op.gradient.dtype)
    arguments = op.gradient, op.normalized, op.inverse_std, op.scale, rows, columns
    over_rows(kernel, rows, arguments)
