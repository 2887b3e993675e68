"""Sums over a whole vector; the results stay on the device."""

from typing import Any

from gpunn.backends.cupy.kernels.raw import raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments
from gpunn.typing import Array

THREADS = 256
EACH = 8  # elements of each thread before another block is added
MAX_PARTIALS = 1024
"""Maximum number of thread blocks that divide a vector."""

SET_SUM = r"""
extern "C" __global__ void gpunn_set_sum(
    const T* x, T* total, long long size, T* partials, unsigned int* ticket) {
  const long long step = (long long)gridDim.x * blockDim.x;
  T sum = 0;
  for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += step)
    sum += x[k];
  if (grid_sum(sum, partials, ticket) && threadIdx.x == 0) total[0] = sum;
}
"""

SUM_OF_SQUARES = r"""
extern "C" __global__ void gpunn_sum_of_squares(const T* x, T* partials, long long size) {
  const long long step = (long long)gridDim.x * blockDim.x;
  T sum = 0;
  for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += step)
    sum += x[k] * x[k];
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}
"""
# Every block adds all partial sums, in the same order, which is cheaper than another launch.
NORM = r"""
  T sum = 0;
  for (long long part = threadIdx.x; part < parts; part += blockDim.x) sum += partials[part];
  const T norm = sqrt(block_sum(sum));
"""
SHRINK = rf"""
enum {{ EACH = {EACH} }};
extern "C" __global__ void gpunn_shrink(
    T* x, const T* partials, long long parts, T limit, long long size) {{
  const long long step = (long long)gridDim.x * blockDim.x;
  {NORM}
  if (!(norm > limit)) return;  // also for NaN, which would stay in the padding
  const T factor = limit / norm;
  for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size;
       k += EACH * step) {{
    T own[EACH];
    load(own, x, k, step, size);
#pragma unroll
    for (int n = 0; n < EACH; ++n)
      if (k + n * step < size) x[k + n * step] = factor * own[n];
  }}
}}
"""

L2_PENALTY = rf"""
enum {{ EACH = {EACH} }};
extern "C" __global__ void gpunn_l2_penalty(
    const T* values, T* gradients, const T* weight, T strength, T* loss_sum, long long size,
    T* partials, unsigned int* ticket) {{
  const long long step = (long long)gridDim.x * blockDim.x;
  const T factor = weight[0] > 0 ? strength / weight[0] : (T)0;
  T sum = 0;
  for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size;
       k += EACH * step) {{
    T own[EACH], own_g[EACH];
    load(own, values, k, step, size);
    load(own_g, gradients, k, step, size);
#pragma unroll
    for (int n = 0; n < EACH; ++n) {{
      if (k + n * step >= size) break;
      sum += own[n] * own[n];
      gradients[k + n * step] = own_g[n] + factor * own[n];
    }}
  }}
  if (grid_sum(sum, partials, ticket) && threadIdx.x == 0 && weight[0] > 0)
    loss_sum[0] += strength / 2 * sum;
}}
"""


def blocks_for(size: int) -> int:
    # The number of blocks depends only on the size, so that all devices add in the same order.
    return min(-(-size // (THREADS * EACH)), MAX_PARTIALS)


def set_sum(op: Arguments, scratch: Scratch) -> None:
    size = op.values.size
    over_vector("gpunn_set_sum", SET_SUM, (op.values, op.out, size), max(size, 1), scratch)


def clip(op: Arguments, scratch: Scratch) -> None:
    x = op.gradients
    blocks = blocks_for(x.size)
    if blocks:
        partials = sum_of_squares(x, scratch)
        shrink = raw_kernel("gpunn_shrink", SHRINK, T=x.dtype)
        limit = x.dtype.type(op.max_norm)
        shrink((blocks,), (THREADS,), (x, partials, blocks, limit, x.size))


def sum_of_squares(x: Array, scratch: Scratch) -> Array:
    blocks = blocks_for(x.size)
    partials = scratch("partials", max(blocks, 1), x.dtype)
    if blocks:
        kernel = raw_kernel("gpunn_sum_of_squares", SUM_OF_SQUARES, T=x.dtype)
        kernel((blocks,), (THREADS,), (x, partials, x.size))
    return partials


def l2_penalty(op: Arguments, scratch: Scratch) -> None:
    size, strength = op.values.size, op.values.dtype.type(op.strength)
    arguments = op.values, op.gradients, op.weight, strength, op.loss_sum, size
    over_vector("gpunn_l2_penalty", L2_PENALTY, arguments, size, scratch)


def over_vector(
    name: str, source: str, arguments: tuple[Any, ...], size: int, scratch: Scratch
) -> None:
    dtype, blocks = arguments[0].dtype, blocks_for(size)
    if blocks:
        partials, tickets = scratch("partials", blocks, dtype), scratch.tickets(1)
        kernel = raw_kernel(name, source, T=dtype)
        kernel((blocks,), (THREADS,), (*arguments, partials, tickets))
