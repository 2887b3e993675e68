"""Sums over a whole vector, kept on the device.

A kernel is a grid-stride loop: thread k of all takes elements k, k + threads, k + 2 threads, ...
Each block writes one partial sum.
"""

from __future__ import annotations

from gpunn.backends.cupy.kernels.raw import raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["clip", "l2_penalty", "set_sum"]

THREADS = 256
EACH = 8  # elements that a thread sums up, at the least, before another block is worth it
MAX_PARTIALS = 1024
"""Blocks that divide a long vector, each leaving one partial sum."""

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
# Every block adds the partial sums for itself, in the same order: cheaper than one more launch.
SHRINK = r"""
extern "C" __global__ void gpunn_shrink(T* x, const T* partials, T limit, long long size) {
  const long long step = (long long)gridDim.x * blockDim.x;
  T sum = 0;
  for (long long part = threadIdx.x; part < gridDim.x; part += blockDim.x) sum += partials[part];
  const T norm = sqrt(block_sum(sum));
  if (norm <= limit) return;  // not if the norm is NaN, which has to spread
  const T factor = limit / norm;
  for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += step)
    x[k] *= factor;
}
"""

L2_PENALTY = r"""
extern "C" __global__ void gpunn_l2_penalty(
    const T* values, T* gradients, const T* weight, T strength, T* loss_sum, long long size,
    T* partials, unsigned int* ticket) {
  const long long step = (long long)gridDim.x * blockDim.x;
  const T factor = weight[0] > 0 ? strength / weight[0] : (T)0;
  T sum = 0;
  for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < size; k += step) {
    const T value = values[k];
    sum += value * value;
    gradients[k] += factor * value;
  }
  if (grid_sum(sum, partials, ticket) && threadIdx.x == 0) loss_sum[0] += strength / 2 * sum;
}
"""


def blocks_for(size: int) -> int:
    """Return how many blocks divide a vector: a function of its size alone, and so are the sums."""
    return min(-(-size // (THREADS * EACH)), MAX_PARTIALS)


def set_sum(values: Array, size: int, total: Array, scratch: Scratch) -> None:
    """Set total, of shape (1,), to the sum of the first `size` values, a contiguous vector."""
    dtype, blocks = values.dtype, max(blocks_for(size), 1)
    partials, tickets = scratch("partials", blocks, dtype), scratch.tickets(1)
    kernel = raw_kernel("gpunn_set_sum", SET_SUM, T=dtype)
    kernel((blocks,), (THREADS,), (values, total, size, partials, tickets))


def clip(x: Array, max_norm: float, scratch: Scratch) -> None:
    """Set x = x * min(1, max_norm / ||x||), for a contiguous vector."""
    dtype, size = x.dtype, x.size
    blocks = blocks_for(size)
    if not blocks:
        return
    partials = scratch("partials", blocks, dtype)
    squares = raw_kernel("gpunn_sum_of_squares", SUM_OF_SQUARES, T=dtype)
    shrink = raw_kernel("gpunn_shrink", SHRINK, T=dtype)
    squares((blocks,), (THREADS,), (x, partials, size))
    shrink((blocks,), (THREADS,), (x, partials, dtype.type(max_norm), size))


def l2_penalty(
    values: Array,
    gradients: Array,
    weight: Array,
    strength: float,
    loss_sum: Array,
    scratch: Scratch,
) -> None:
    """Add strength / 2 * ||values||^2 to `loss_sum`, and strength / weight * values to `gradients`.

    `values` and `gradients` have shape (size,), `weight` and `loss_sum` (1,); all are contiguous
    and of one type.
    """
    dtype, size = values.dtype, values.size
    blocks = blocks_for(size)
    if not blocks:
        return
    partials, tickets = scratch("partials", blocks, dtype), scratch.tickets(1)
    kernel = raw_kernel("gpunn_l2_penalty", L2_PENALTY, T=dtype)
    given = values, gradients, weight, dtype.type(strength), loss_sum, size
    kernel((blocks,), (THREADS,), (*given, partials, tickets))
