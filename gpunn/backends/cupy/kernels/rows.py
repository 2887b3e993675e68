"""Gather rows of a data set. Arrays of one element on the device select the next rows."""

import functools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import cupy
import numpy as np

from gpunn.backends.cupy.kernels.raw import C_TYPES, Calls, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments
from gpunn.typing import Array

ASSIGN = cupy.ElementwiseKernel("S x", "T y", "y = (T)x;", "gpunn_assign")
RESCALE = cupy.ElementwiseKernel(
    "S x, T scale, T offset", "T y", "y = (T)x * scale + offset;", "gpunn_rescale"
)
COUNT_FINITE = cupy.ElementwiseKernel(
    "T loss_sum", "T steps", "steps += isfinite(loss_sum);", "gpunn_count_finite"
)
TAKE = cupy.ElementwiseKernel(
    "raw T table, raw int64 index, int64 columns",
    "T y",
    "y = table[index[0] * columns + i];",
    "gpunn_take",
)
GATHER_ROWS = cupy.ElementwiseKernel(
    "raw S source, raw int64 order, raw int64 start, int64 width",
    "T y",
    """const long long row = i / width;
       y = (T)source[order[start[0] + row] * width + (i - row * width)];""",
    "gpunn_gather_rows",
)

TYPES = {**C_TYPES, np.dtype(np.uint8): "unsigned char"}
"""Data types of rows that `next_batch` accepts, with their names in C."""

THREADS = 256
PER_THREAD = 4  # elements of a thread, which loads all of them before it stores the first

LARGE = 2**31 - THREADS * PER_THREAD
"""Smallest number of elements for which an index in the last block may need more than 31 bits."""

# Each block belongs to one of the arrays. Every block reads `start`, so only the last block may
# advance it.
NEXT_BATCH = r"""
template <typename Source, typename Out>
__device__ void gather(
    const Source* source, const long long* order, Out* out, Index width, Index size, Index block) {
  const Index begin = block * PER_THREAD * blockDim.x + threadIdx.x;
  Source loaded[PER_THREAD];
  #pragma unroll
  for (int k = 0; k < PER_THREAD; ++k) {
    const Index i = begin + k * blockDim.x, row = i / width;
    if (i < size) loaded[k] = source[order[row] * width + (i - row * width)];
  }
  #pragma unroll
  for (int k = 0; k < PER_THREAD; ++k) {
    const Index i = begin + k * blockDim.x;
    if (i < size) out[i] = (Out)loaded[k];
  }
}

extern "C" __global__ void gpunn_next_batch(
    const long long* order, long long* start, long long* passes, long long rows,
    %(arrays)s, unsigned int* ticket) {
  const long long* next = order + start[0];
  const long long block = blockIdx.x;
  %(gathers)s
  if (last_block(ticket, gridDim.x) && threadIdx.x == 0) {
    const long long end = start[0] + rows, pass = passes[0] + 1;
    start[0] = end;
    passes[0] = pass;
  }
}
"""


def take(op: Arguments) -> Calls:
    return [partial(TAKE, op.table, op.index, op.out.size, op.out)]


def gather_rows(op: Arguments) -> Calls:
    width = math.prod(op.source.shape[1:])
    return [partial(GATHER_ROWS, op.source, op.order, op.start, width, op.out)]


def next_batch(op: Arguments, scratch: Scratch) -> None:
    rows, end, arrays = op.outs[0].shape[0], 0, list[Any]()
    for source, out in zip(op.sources, op.outs, strict=True):
        begin, end = end, end - (-out.size // (THREADS * PER_THREAD))
        arrays += [source, out, math.prod(out.shape[1:]), out.size, begin, end]
    pairs = zip(op.sources, op.outs, strict=True)
    types = tuple((source.dtype, out.dtype) for source, out in pairs)
    given = op.order, op.start, op.passes, rows, *arrays, scratch.tickets(1)
    next_batch_kernel(types, index_type(op.outs))((max(end, 1),), (THREADS,), given)


def index_type(outs: Sequence[Array]) -> str:
    # The kernel divides each index by a row's length, which is slow for 64 bits: devices have no
    # instruction for dividing 64-bit integers.
    return "int" if max(out.size for out in outs) < LARGE else "long long"


@functools.cache
def next_batch_kernel(types: tuple[tuple[Any, Any], ...], index: str) -> Any:
    arrays = ",\n    ".join(
        f"const {TYPES[source]}* source{n}, {TYPES[out]}* out{n}, long long width{n}, "
        f"long long size{n}, long long begin{n}, long long end{n}"
        for n, (source, out) in enumerate(types)
    )
    gathers = "\n  ".join(
        f"if (begin{n} <= block && block < end{n})\n"
        f"    gather(source{n}, next, out{n}, width{n}, size{n}, block - begin{n});"
        for n in range(len(types))
    )
    text = NEXT_BATCH % {"arrays": arrays, "gathers": gathers}
    source = f"typedef {index} Index;\nenum {{ PER_THREAD = {PER_THREAD} }};{text}"
    # T is the type of sums, and this kernel has no sums.
    return raw_kernel("gpunn_next_batch", source, T=np.dtype(np.int64))
