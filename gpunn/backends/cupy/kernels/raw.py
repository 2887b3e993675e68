"""Raw kernels: how they are built, the parts they share, and the grids they run on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from gpunn.backends.cupy.scratch import Scratch

__all__ = [
    "COLUMN",
    "COLUMN_PARAMETERS",
    "C_TYPES",
    "NULL",
    "column_grid",
    "over_columns",
    "over_rows",
    "raw_kernel",
]

C_TYPES = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.int64): "long long",
}

NULL = 0
"""Passed as 64 bits of zero, which a kernel reads as a null pointer."""

LANES = 32  # threads of a warp
ROWS = 4  # handled by a block, each by one warp
STACK = 16  # threads of a block that share a column
EACH = 8  # rows that a thread of a stack keeps in registers at a time

ONE_BLOCK = 2
"""Times that a block loads STACK * EACH rows which cost less than a second block: about 0.6 us
each, while leaving a part, taking a ticket and reading the parts costs about 2 us (estimates)."""

BLOCKS = 1024
"""Blocks that are enough to occupy any device, about 8 for each multiprocessor of the largest."""

# Whoever calls one of these functions must do so with all threads of its warp or block.
PRELUDE = r"""
// The other lanes' values are taken in such an order that every lane ends with the same bits.
__device__ T warp_sum(T v) {
  for (int other = LANES / 2; other; other /= 2) v += __shfl_xor_sync(0xffffffff, v, other);
  return v;
}

// Over the warps of a block with one row of threads. A barrier must lie between two calls.
__device__ T block_sum(T v) {
  __shared__ T parts[LANES];
  const int lane = threadIdx.x % LANES, warps = blockDim.x / LANES;
  v = warp_sum(v);
  if (lane == 0) parts[threadIdx.x / LANES] = v;
  __syncthreads();
  return warp_sum(lane < warps ? parts[lane] : (T)0);
}

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

// Whether this is the last of `blocks` blocks to get here, told to all of its threads. The last one
// sees what the others wrote before they got here. The ticket is 0 before a launch and after it.
__device__ bool last_block(unsigned int* ticket, unsigned int blocks) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    __threadfence();  // what was written is seen before the ticket is
    last = atomicInc(ticket, blocks - 1) == blocks - 1;  // which wraps the ticket to 0
    __threadfence();  // what is read from here on is no older than the ticket
  }
  __syncthreads();
  return last;
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

// Over the threads of a grid with one row of blocks, each with one row of threads. It is complete
// in the block that gets true. Parts are added in their order, whichever block comes last.
__device__ bool grid_sum(T& v, T* parts, unsigned int* ticket) {
  v = block_sum(v);
  if (gridDim.x == 1) return true;
  if (threadIdx.x == 0) parts[blockIdx.x] = v;
  if (!last_block(ticket, gridDim.x)) return false;
  v = 0;
  for (unsigned int part = threadIdx.x; part < gridDim.x; part += blockDim.x) v += parts[part];
  v = block_sum(v);
  return true;
}
"""


# The elements of a column that a block takes, for the threads of its stack: from `first` to `end`
# in steps of `step`. Threads beyond the last column have none, but must stay for the barriers.
COLUMN = r"""
  const long long column = (long long)blockIdx.x * LANES + threadIdx.x;
  const bool inside = column < columns;
  const long long top = blockIdx.y * share, bottom = min(top + share, rows);
  const long long first = (top + threadIdx.y) * columns + column, step = STACK * columns;
  const long long end = inside ? bottom * columns : 0;
"""

COLUMN_PARAMETERS = """
    long long rows, long long columns, long long share, T* parts, unsigned int* tickets"""
"""The last parameters of a kernel over columns."""


@functools.cache
def raw_kernel(name: str, source: str, **types: Any) -> Any:
    """Return the kernel `name` of a CUDA source in which `types`, such as T, name number types."""
    constants = f"enum {{ LANES = {LANES}, STACK = {STACK}, EACH = {EACH} }};\n"
    typedefs = "".join(f"typedef {C_TYPES[dtype]} {alias};\n" for alias, dtype in types.items())
    return cupy.RawKernel(constants + typedefs + PRELUDE + source, name)


def over_rows(kernel: Any, rows: int, arguments: Sequence[Any]) -> None:
    """Launch a kernel that gives each row the 32 lanes of one warp."""
    if rows:
        kernel((-(-rows // ROWS),), (LANES, ROWS), tuple(arguments))


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

    Its last parameters are COLUMN_PARAMETERS; blocks have 32 columns, with a stack of threads for
    each.
    """
    rows, columns = shape
    if columns:
        groups, shares, share = column_grid(rows, columns)
        dtype = arguments[0].dtype
        parts = scratch("parts", groups * LANES * shares * sums, dtype)
        given = rows, columns, share, parts, scratch.tickets(groups)
        kernel((groups, shares), (LANES, STACK), (*arguments, *given))
