"""Layer normalization and its gradient, separately or in one kernel with an activation.

`gpunn.backends.operations` defines formulas and shapes; all arrays are contiguous. A fused kernel
never adds a product with the activation's derivative. Otherwise, the compiler would round product
and sum only once, and separate kernels would have other results.
"""

import functools
from functools import partial
from typing import Any

import numpy as np

from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import LANES, Calls, over_rows, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments
from gpunn.typing import Array

THREADS = 512
ROWS = THREADS // LANES  # rows that a block's warps handle at a time
EACH = 8  # rows that a thread loads at a time
MOST_ROWS = 512
"""Maximum number of rows of a block, which keeps three numbers of each row in shared memory."""

PARTIALS = 2**15
"""Approximate maximum of blocks * columns. Each block writes two partial sums for each column, and
the last block reads them all. MANY blocks are always allowed."""

MANY = 32
"""Number of thread blocks that is allowed even for a matrix with many columns."""


def layer_norm(op: Arguments) -> Calls:
    return normalized_rows(op, op.out, [], "gpunn_layer_norm")


def layer_norm_activate(op: Arguments) -> Calls:
    f, formula = op.f, op.f.formula
    more = [op.out, *f.constants(op.x.dtype.type)]
    parameters = f", T* __restrict__ out{formula.parameters}"
    statements = f"T a; {formula.value} out[k] = a;"
    return normalized_rows(op, op.z, more, f"gpunn_layer_norm_{f.name}", parameters, statements)


def normalized_rows(op: Arguments, z: Array, more: list[Any], *source: str) -> Calls:
    rows, columns = op.x.shape
    kernel = raw_kernel(source[0], forward_source(*source), T=op.x.dtype)
    arrays = op.x, op.scale, op.shift, op.normalized, op.inverse_std, z
    arguments = *arrays, rows, columns, op.x.dtype.type(op.epsilon), *more
    return [partial(over_rows, kernel, rows, arguments)]


@functools.cache
def forward_source(name: str, parameters: str = "", statements: str = "") -> str:
    """Return the code of a kernel that normalizes rows and runs `statements` for each result z."""
    return f"""{FUNCTIONS}
extern "C" __global__ void {name}(
    const T* __restrict__ x, const T* __restrict__ scales, const T* __restrict__ shifts,
    T* __restrict__ normalized, T* __restrict__ inverse_std, T* __restrict__ values_z,
    long long rows, long long columns, T epsilon{parameters}) {{
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const long long first = row * columns + threadIdx.x, end = (row + 1) * columns;
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
    summed_rows(op, scratch, [], "gpunn_layer_norm_gradient")


def layer_norm_activation_gradient(op: Arguments, scratch: Scratch) -> None:
    f, formula = op.f, op.f.formula
    more = [op.z, op.output, *f.constants(op.gradient.dtype.type)]
    arrays = ", const T* __restrict__ values_z, const T* __restrict__ values_a"
    chain_rule = f"""const T z = values_z[k], a = values_a[k];
      T d;
      {formula.derivative}
      gradient[k] = g *= d;"""
    statements = chain_rule if formula.derivative else ""
    name = f"gpunn_layer_norm_{f.name}_gradient"
    summed_rows(op, scratch, more, name, arrays + formula.parameters, statements)


def summed_rows(op: Arguments, scratch: Scratch, more: list[Any], *source: str) -> None:
    rows, columns = op.gradient.shape
    if not columns:
        return
    blocks, block_rows = blocks_of(rows, columns)
    width = LANES
    while width < min(columns, THREADS):
        width *= 2
    kernel = raw_kernel(source[0], gradient_source(*source), T=op.gradient.dtype)
    arrays = op.gradient, op.normalized, op.inverse_std, op.scale
    sums = op.scale_gradient, op.shift_gradient
    partials = scratch("partials", 2 * blocks * columns, op.gradient.dtype)
    sizes = rows, columns, np.int32(block_rows), np.int32(width), partials, scratch.tickets(1)
    kernel((blocks,), (THREADS,), (*arrays, *sums, *sizes, *more))


def blocks_of(rows: int, columns: int) -> tuple[int, int]:
    # The number of blocks affects rounding, so it depends only on the shape, not on the device.
    most = max(PARTIALS // columns, MANY)
    each = min(max(-(-rows // (most * ROWS)), 1), MOST_ROWS // ROWS)
    return max(-(-rows // (each * ROWS)), 1), each * ROWS


# First, a block's warps sum each row. Then `width` threads have a column each, and the other
# threads have other rows of these columns. So one launch sums over rows and over columns. Without
# the 1 in `__launch_bounds__`, the compiler uses only 64 registers, and float64 needs more.
@functools.cache
def gradient_source(name: str, parameters: str = "", statements: str = "") -> str:
    """Return a gradient kernel's source; `statements` may change g, an element of dL/dy."""
    return f"""{FUNCTIONS}
enum {{ THREADS = {THREADS}, ROWS = {ROWS}, EACH = {EACH}, MOST_ROWS = {MOST_ROWS} }};

// Sums over the threads of a block with the same column.
__device__ T stack_sum(T v, int width) {{
  if (width == THREADS) return v;
  __shared__ T stack[THREADS];
  stack[threadIdx.x] = v;
  __syncthreads();
  v = 0;
  for (int other = threadIdx.x % width; other < THREADS; other += width) v += stack[other];
  __syncthreads();  // the next call overwrites the stack
  return v;
}}

extern "C" __global__ __launch_bounds__(THREADS, 1) void {name}(
    T* __restrict__ gradient, const T* __restrict__ normalized, const T* __restrict__ inverse_std,
    const T* __restrict__ scales, T* __restrict__ scale_gradient, T* __restrict__ shift_gradient,
    long long rows, long long columns, int block_rows, int width, T* partials,
    unsigned int* ticket{parameters}) {{
  __shared__ T means[MOST_ROWS], slopes[MOST_ROWS], inverses[MOST_ROWS];
  const int lane = threadIdx.x % LANES, level = threadIdx.x / width, levels = THREADS / width;
  const long long top = (long long)blockIdx.x * block_rows, bottom = min(top + block_rows, rows);
  for (long long row = top + threadIdx.x / LANES; row < bottom; row += ROWS) {{
    T sum = 0, along = 0;
    for (long long j = lane, k = row * columns + lane; j < columns; j += LANES, k += LANES) {{
      T g = gradient[k];
      {statements}
      const T h = scales[j] * g;
      sum += h;
      along += h * normalized[k];
    }}
    sum = warp_sum(sum);
    along = warp_sum(along);
    if (lane == 0) {{
      means[row - top] = sum / columns;
      slopes[row - top] = along / columns;
      inverses[row - top] = inverse_std[row];
    }}
  }}
  __syncthreads();
  for (long long left = 0; left < columns; left += width) {{
    const long long column = left + threadIdx.x % width;
    const bool inside = column < columns;
    const T factor = inside ? scales[column] : (T)0;
    T sums[2] = {{0, 0}};
    for (int row = level; inside && top + row < bottom; row += EACH * levels) {{
      T own_g[EACH], own_n[EACH];
#pragma unroll
      for (int n = 0; n < EACH; ++n) {{
        const long long at = top + row + n * levels, k = at * columns + column;
        own_g[n] = at < bottom ? gradient[k] : (T)0;
        own_n[n] = at < bottom ? normalized[k] : (T)0;
      }}
#pragma unroll
      for (int n = 0; n < EACH; ++n) {{
        const int at = row + n * levels;
        if (top + at >= bottom) break;
        sums[0] += own_g[n] * own_n[n];
        sums[1] += own_g[n];
        gradient[(top + at) * columns + column] =
            inverses[at] * (factor * own_g[n] - means[at] - own_n[n] * slopes[at]);
      }}
    }}
    for (int n = 0; n < 2; ++n) sums[n] = stack_sum(sums[n], width);
    if (!inside || level) continue;
    if (gridDim.x > 1) {{
      T* const own = partials + (long long)blockIdx.x * 2 * columns + column;
      for (int n = 0; n < 2; ++n) own[n * columns] = sums[n];
    }} else {{
      scale_gradient[column] = sums[0];
      shift_gradient[column] = sums[1];
    }}
  }}
  if (gridDim.x == 1 || !last_block(ticket, gridDim.x)) return;
  for (long long left = 0; left < columns; left += width) {{
    const long long column = left + threadIdx.x % width;
    const bool inside = column < columns;
    T sums[2] = {{0, 0}};
#pragma unroll 8
    for (int part = level; part < gridDim.x && inside; part += levels)
      for (int n = 0; n < 2; ++n) sums[n] += partials[((long long)part * 2 + n) * columns + column];
    for (int n = 0; n < 2; ++n) sums[n] = stack_sum(sums[n], width);
    if (!inside || level) continue;
    scale_gradient[column] = sums[0];
    shift_gradient[column] = sums[1];
  }}
}}
"""
