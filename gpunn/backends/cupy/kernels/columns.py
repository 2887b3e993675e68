"""Sums over the rows of a matrix: how thread blocks divide the matrix, and shared CUDA code."""

from collections.abc import Sequence
from typing import Any

from gpunn.backends.cupy.kernels.raw import LANES
from gpunn.backends.cupy.scratch import Scratch

STACK = 16  # threads of a block for each column
EACH = 8  # rows that a thread loads into registers together

ONE_BLOCK = 2
"""Up to this number of loads, one block is estimated to be faster than two. A load of STACK * EACH
rows takes about 0.6 us, and combining the partial sums of two blocks takes 2 us."""

BLOCKS = 1024
"""Number of blocks that keeps any device busy, about 8 per multiprocessor of the largest GPU."""

# A preamble of kernels. All threads of a block must call the last two functions.
COLUMNS = (
    f"""
enum {{ STACK = {STACK}, EACH = {EACH} }};
"""
    + r"""
// Sums over the threads of a block with the same threadIdx.x.
__device__ T column_sum(T v) {
  __shared__ T stack[STACK][LANES];
  stack[threadIdx.y][threadIdx.x] = v;
  __syncthreads();
  T sum = 0;
  for (int level = 0; level < STACK; ++level) sum += stack[level][threadIdx.x];
  __syncthreads();  // the next call overwrites the stack
  return sum;
}

// Sums over the blocks of a grid with the same blockIdx.x, and their threads with the same
// threadIdx.x. The block that gets true has the complete sums. `partials` (blocks of a column, N,
// columns) stores the sums of each block.
template <int N>
__device__ bool column_sums(T (&v)[N], T* partials, unsigned int* tickets) {
  const long long width = (long long)gridDim.x * LANES;
  T* const first = partials + (long long)blockIdx.x * LANES + threadIdx.x;
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

# A thread's elements of a column: from `first` to `end` in steps of `step`. Threads beyond the last
# column have no elements, but must still reach the barriers.
COLUMN = r"""
  const long long column = (long long)blockIdx.x * LANES + threadIdx.x;
  const bool inside = column < columns;
  const long long top = blockIdx.y * block_rows, bottom = min(top + block_rows, rows);
  const long long first = (top + threadIdx.y) * columns + column, step = STACK * columns;
  const long long end = inside ? bottom * columns : 0;
"""

PARAMETERS = """
    long long rows, long long columns, long long block_rows, T* partials, unsigned int* tickets"""
"""The last parameters of a kernel that sums columns."""


def column_grid(rows: int, columns: int) -> tuple[int, int, int]:
    """Return (groups, blocks per group, rows per block): how to divide a matrix into blocks.

    A group has 32 columns, and each group has the same number of blocks. The three numbers affect
    rounding, so they depend only on the matrix's shape, not on the device.
    """
    groups, loads = -(-columns // LANES), max(-(-rows // (STACK * EACH)), 1)
    wanted = 1 if loads <= ONE_BLOCK else min(loads, max(BLOCKS // groups, 1))
    each = -(-loads // wanted)
    return groups, -(-loads // each), each * STACK * EACH


def over_columns(
    kernel: Any, shape: tuple[int, int], arguments: Sequence[Any], sums: int, scratch: Scratch
) -> None:
    """Launch a kernel that computes `sums` sums for each column.

    The kernel gets `arguments`, followed by values for the parameters in `PARAMETERS`.
    """
    rows, columns = shape
    if columns:
        groups, blocks, block_rows = column_grid(rows, columns)
        dtype = arguments[0].dtype
        partials = scratch("partials", groups * LANES * blocks * sums, dtype)
        shared = rows, columns, block_rows, partials, scratch.tickets(groups + 1)
        kernel((groups, blocks), (LANES, STACK), (*arguments, *shared))
