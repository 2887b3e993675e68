"""Compile and launch raw kernels, and define CUDA functions that all raw kernels can call."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import cupy
import numpy as np

Calls: TypeAlias = list[Callable[[], Any]]
"""Calls that run an operation, in order."""

C_TYPES = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.int64): "long long",
}

NULL = 0
"""A null pointer, as a kernel's argument for a missing array."""

LANES = 32  # threads of a warp
ROWS = 4  # rows of a block, one for each warp

# All threads of a warp or block must call these functions together, except `load`.
PRELUDE = r"""
// Loads v[n] = x[k + n * step], or 0 from `end` on. A thread waits once for all loads before a
// store. Between stores it would wait for each, because a store might change the next value.
template <int N>
__device__ void load(T (&v)[N], const T* x, long long k, long long step, long long end) {
#pragma unroll
  for (int n = 0; n < N; ++n) v[n] = k + n * step < end ? x[k + n * step] : (T)0;
}

// The values are added in an order that gives all lanes bitwise identical sums.
__device__ T warp_sum(T v) {
  for (int other = LANES / 2; other; other /= 2) v += __shfl_xor_sync(0xffffffff, v, other);
  return v;
}

// Sums over the warps of a block with one row of threads. Two calls need a barrier between them.
__device__ T block_sum(T v) {
  __shared__ T partials[LANES];
  const int lane = threadIdx.x % LANES, warps = blockDim.x / LANES;
  v = warp_sum(v);
  if (lane == 0) partials[threadIdx.x / LANES] = v;
  __syncthreads();
  return warp_sum(lane < warps ? partials[lane] : (T)0);
}

// Returns to all threads of a block whether it is the last of `blocks` blocks to call this. The
// last block sees all writes of the others before their calls. The ticket is 0 before a launch and
// after it.
__device__ bool last_block(unsigned int* ticket, unsigned int blocks) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    __threadfence();  // makes earlier writes visible before the ticket
    last = atomicInc(ticket, blocks - 1) == blocks - 1;  // the last one resets the ticket to 0
    __threadfence();  // later reads are no older than the ticket
  }
  __syncthreads();
  return last;
}

// Sums over the threads of a grid with one row of blocks, each with one row of threads. The block
// that gets true has the complete sum. `partials` (blocks,) stores the sums of blocks, which are
// added in the order of the blocks, whichever finishes last.
__device__ bool grid_sum(T& v, T* partials, unsigned int* ticket) {
  v = block_sum(v);
  if (gridDim.x == 1) return true;
  if (threadIdx.x == 0) partials[blockIdx.x] = v;
  if (!last_block(ticket, gridDim.x)) return false;
  v = 0;
  for (unsigned int part = threadIdx.x; part < gridDim.x; part += blockDim.x) v += partials[part];
  v = block_sum(v);
  return true;
}
"""


@functools.cache
def raw_kernel(name: str, source: str, prelude: str = PRELUDE, **types: Any) -> Any:
    constants = f"enum {{ LANES = {LANES} }};\n"
    typedefs = "".join(f"typedef {C_TYPES[dtype]} {alias};\n" for alias, dtype in types.items())
    return cupy.RawKernel(constants + typedefs + prelude + source, name)


def over_rows(kernel: Any, rows: int, arguments: Sequence[Any]) -> None:
    if rows:
        kernel((-(-rows // ROWS),), (LANES, ROWS), tuple(arguments))
