"""Batch normalization, the gradient, and normalization with given statistics.

Kernels of sums over rows compute nothing else, because several blocks may share a column.
"""

from functools import partial

import cupy

from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.raw import Calls, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments

# Each block computes a center, approximately the mean of its rows, and the sums of the deviations
# from it and of their squares; the last block combines them. The centers' rounding has no effect on
# the results, so that a large mean costs few digits (Chan, Golub & LeVeque 1983).
STATISTICS = rf"""{COLUMNS}
extern "C" __global__ void gpunn_batch_norm_statistics(
    const T* x, T* means, T* inverse_std, T* running_mean, T* running_variance,
    T momentum, T rest, T epsilon, {PARAMETERS}) {{
  {COLUMN}
  T center = 0, sum = 0, squares = 0;
  for (long long k = first; k < end; k += EACH * step) {{
    T own[EACH];
    load(own, x, k, step, end);
    for (int n = 0; n < EACH; ++n) center += own[n];
  }}
  center = column_sum(center) / (bottom - top);
  for (long long k = first; k < end; k += EACH * step) {{
    T own[EACH];
    load(own, x, k, step, end);
    for (int n = 0; n < EACH; ++n)
      if (k + n * step < end) {{
        const T off = own[n] - center;
        sum += off;
        squares += off * off;
      }}
  }}
  sum = column_sum(sum);
  squares = column_sum(squares);
  T mean = center + sum / (bottom - top);
  if (gridDim.y > 1) {{
    T* const centers = partials + column;
    const long long width = gridDim.x * LANES, all = gridDim.y * width;
    if (threadIdx.y == 0) {{
      T* const own = centers + blockIdx.y * width;
      own[0] = center;
      own[all] = sum;
      own[2 * all] = squares;
    }}
    if (!last_block(tickets + blockIdx.x, gridDim.y)) return;
    const T origin = centers[0];
    sum = squares = 0;
    for (int part = threadIdx.y; part < gridDim.y; part += STACK) {{
      const T* const own = centers + part * width;
      const T count = min(block_rows, rows - part * block_rows);
      sum += count * (own[0] - origin) + own[all];
    }}
    mean = origin + column_sum(sum) / rows;
    for (int part = threadIdx.y; part < gridDim.y; part += STACK) {{
      const T* const own = centers + part * width;
      const T count = min(block_rows, rows - part * block_rows), off = own[0] - mean;
      squares += off * (count * off + 2 * own[all]) + own[2 * all];
    }}
    squares = column_sum(squares);
  }} else {{
    squares += (center - mean) * (rows * (center - mean) + 2 * sum);
  }}
  if (!inside || threadIdx.y) return;
  const T variance = (squares < 0 ? 0 : squares) / rows;  // rounding may make it negative
  const T old_mean = running_mean[column], old_variance = running_variance[column];
  means[column] = mean;
  inverse_std[column] = 1 / sqrt(variance + epsilon);
  running_mean[column] = momentum * old_mean + rest * mean;
  running_variance[column] = momentum * old_variance + rest * variance;
}}
"""

SCALE_AND_SHIFT_GRADIENT = rf"""{COLUMNS}
extern "C" __global__ void gpunn_scale_and_shift_gradient(
    const T* gradient, const T* x, const T* mean, const T* inverse_std,
    T* scale_gradient, T* shift_gradient, {PARAMETERS}) {{
  {COLUMN}
  const T center = inside ? mean[column] : 0, inverse = inside ? inverse_std[column] : 0;
  T sums[2] = {{0, 0}};
  for (long long k = first; k < end; k += EACH * step) {{
    T own_g[EACH], own_x[EACH];
    load(own_g, gradient, k, step, end);
    load(own_x, x, k, step, end);
    for (int n = 0; n < EACH; ++n) {{
      sums[0] += own_g[n] * ((own_x[n] - center) * inverse);
      sums[1] += own_g[n];
    }}
  }}
  if (!column_sums(sums, partials, tickets) || !inside || threadIdx.y) return;
  scale_gradient[column] = sums[0];
  shift_gradient[column] = sums[1];
}}
"""

BATCH_NORM = cupy.ElementwiseKernel(
    "T x, T mean, T inverse_std, T scale, T shift",
    "T y",
    "const T n = (x - mean) * inverse_std; y = scale * n + shift;",
    "gpunn_batch_norm",
)
BATCH_NORM_GRADIENT = cupy.ElementwiseKernel(
    "T x, T mean, T inverse_std, T scale, T along, T sum, T rows",
    "T g",
    """const T n = (x - mean) * inverse_std;
       g = scale * inverse_std * (g - sum / rows - n * (along / rows));""",
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
    """const T own = x * std + mean;
       y = own < least ? least : own > largest ? largest : own;""",
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
    moments = op.x, op.mean, op.variance, op.epsilon
    if op.scale is None or op.shift is None:
        return [partial(NORMALIZE, *moments, op.out)]
    return [partial(SCALED_NORMALIZE, *moments, op.scale, op.shift, op.out)]


def unstandardize(op: Arguments) -> Calls:
    inputs = op.x, op.mean, op.std
    if op.minimum is None or op.maximum is None:
        return [partial(UNSTANDARDIZE, *inputs, op.out)]
    return [partial(CLIPPED_UNSTANDARDIZE, *inputs, op.minimum, op.maximum, op.out)]


def batch_norm(op: Arguments, scratch: Scratch) -> None:
    x, momentum = op.x, op.momentum
    T = x.dtype.type
    kernel = raw_kernel("gpunn_batch_norm_statistics", STATISTICS, T=x.dtype)
    outputs = op.mean, op.inverse_std, op.running_mean, op.running_variance
    numbers = T(momentum), T(1 - momentum), T(op.epsilon)
    over_columns(kernel, x.shape, (x, *outputs, *numbers), 3, scratch)
    BATCH_NORM(x, op.mean, op.inverse_std, op.scale, op.shift, op.out)


def batch_norm_gradient(op: Arguments, scratch: Scratch) -> None:
    name = "gpunn_scale_and_shift_gradient"
    kernel = raw_kernel(name, SCALE_AND_SHIFT_GRADIENT, T=op.gradient.dtype)
    moments = op.x, op.mean, op.inverse_std
    arrays = op.gradient, *moments, op.scale_gradient, op.shift_gradient
    over_columns(kernel, op.gradient.shape, arrays, 2, scratch)
    sums = op.scale_gradient, op.shift_gradient, op.gradient.shape[0]
    BATCH_NORM_GRADIENT(*moments, op.scale, *sums, op.gradient)
