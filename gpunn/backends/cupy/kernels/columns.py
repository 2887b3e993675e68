"""Sums over the rows of a matrix: how it is shared out to blocks, and what their kernels share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpunn.backends.cupy.kernels.raw import LANES
from gpunn.backends.cupy.scratch import Scratch

__all__ = ["COLUMN", "COLUMNS", "PARAMETERS", "column_grid", "over_columns"]

STACK = 16  # threads of a block that share a column
EACH = 8  # rows that a thread of a stack keeps in registers at a time

ONE_BLOCK = 2
"""Times that a block loads STACK * EACH rows which cost less than a second block: about 0.6 us
each, while leaving a part, taking a ticket and reading the parts costs about 2 us (estimates)."""

BLOCKS = 1024
"""Blocks that are enough to occupy any device, about 8 for each multiprocessor of the largest."""

# To precede the source of a kernel. All threads of a block must call the last two.
COLUMNS = (
    f"""
enum {{ STACK = {STACK}, EACH = {EACH} }};
"""
    + r"""
// Loads v[n] = x[k + n * step], or 0 from `end` on. What is loaded before any store is waited for
// once; to the compiler, a store may change what is loaded next.
__device__ void load(T (&v)[EACH], const T* x, long long k, long long step, long long end) {
#pragma unroll
  for (int n = 0; n < EACH; ++n) v[n] = k + n * step < end ? x[k + n * step] : (T)0;
}

// Over the threads of a block that share threadIdx.x.
__device__ T column_sum(T v) {
  __shared__ T stack[STACK][LANES];
  stack[threadIdx.y][threadIdx.x] = v;
  __syncthreads();
  T sum = 0;
  for (int level = 0; level < STACK; ++level) sum += stack[level][threadIdx.x];
  __syncthreads();  // the next call overwrites the stack
  return sum;
}

// Over the blocks of a grid that share blockIdx.x, and their threads that share threadIdx.x.
// Complete in the block that gets true. `parts` has a place for each thread of a block's first row,
// for each block and each of the N sums.
template <int N>
__device__ bool column_sums(T (&v)[N], T* parts, unsigned int* tickets) {
  const long long width = (long long)gridDim.x * LANES;
  T* const first = parts + (long long)blockIdx.x * LANES + threadIdx.x;
  for (int n = 0; n < N; ++n) v[n] = column_sum(v[n]);
  if (gridDim.y == 1) return true;
  if (threadIdx.y == 0)
    for (int n = 0; n < N; ++n) first[(blockIdx.y * N + n) * width] = v[n];
  if (!last_block(tickets + blockIdx.x, gridDim.y)) return false;
  for (int n = 0; n < N; ++n) {
    v[n] = 0;
    for (int part = threadIdx.y; part < gridDim.y; part += STACK)
      v[n] += first[(part * N + n) * width];
    v[n] = column_sum(v[n]);
  }
  return true;
}
"""
)

# The elements of a column that a block takes, for the threads of its stack: from `first` to `end`
# in steps of `step`. Threads beyond the last column have none, but must stay for the barriers.
COLUMN = r"""
  const long long column = (long long)blockIdx.x * LANES + threadIdx.x;
  const bool inside = column < columns;
  const long long top = blockIdx.y * share, bottom = min(top + share, rows);
  const long long first = (top + threadIdx.y) * columns + column, step = STACK * columns;
  const long long end = inside ? bottom * columns : 0;
"""

PARAMETERS = """
    long long rows, long long columns, long long share, T* parts, unsigned int* tickets"""
"""The last parameters of a kernel over columns."""


def column_grid(rows: int, columns: int) -> tuple[int, int, int]:
    """Return how a matrix is shared out to the blocks of a kernel that sums over its rows.

    Results have other bits if it is shared out otherwise, so this depends on the shape alone, not
    on the device.

    Returns
    -------
    groups : int
        Of 32 columns; the last may have fewer.
    shares : int
        Blocks that have the same columns.
    share : int
        Rows of a block; the last may have fewer.
    """
    groups, loads = -(-columns // LANES), max(-(-rows // (STACK * EACH)), 1)
    wanted = 1 if loads <= ONE_BLOCK else min(loads, max(BLOCKS // groups, 1))
    each = -(-loads // wanted)
    return groups, -(-loads // each), each * STACK * EACH


def over_columns(
    kernel: Any, shape: tuple[int, int], arguments: Sequence[Any], sums: int, scratch: Scratch
) -> None:
    """Launch a kernel over the columns of a matrix, which makes so many sums over the rows.

    Its last parameters are PARAMETERS; its blocks have 32 columns, and a stack of threads for each.
    """
    rows, columns = shape
    if columns:
        groups, shares, share = column_grid(rows, columns)
        dtype = arguments[0].dtype
        parts = scratch("parts", groups * LANES * shares * sums, dtype)
        given = rows, columns, share, parts, scratch.tickets(groups)
        kernel((groups, shares), (LANES, STACK), (*arguments, *given))
