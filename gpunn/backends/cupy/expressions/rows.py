"""A kernel that computes traced results row by row, such as a loss and its gradient.

The results are functions of elements, of sums and maxima of rows, and of sums over all elements. If
there are sums or maxima of rows, a warp computes each row in a loop over the columns. Otherwise,
each thread computes an element or a row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from gpunn.backends.cupy.expressions.statements import ONCE, ROW, Place, Scope, Statements, function
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import LANES, raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.tracing import Write
from gpunn.expressions import base_of
from gpunn.typing import Array

THREADS = 256
MAX_BLOCKS = 256
"""Maximum number of thread blocks of a kernel that sums all elements."""

PREAMBLE = rf"""{FUNCTIONS}
__device__ T warp_maximum(T v) {{
  for (int other = LANES / 2; other; other /= 2)
    v = maximum(v, __shfl_xor_sync(0xffffffff, v, other));
  return v;
}}

__device__ T warp_minimum(T v) {{
  for (int other = LANES / 2; other; other /= 2)
    v = minimum(v, __shfl_xor_sync(0xffffffff, v, other));
  return v;
}}

// Like `grid_sum`, for N sums.
template <int N> __device__ bool grid_sums(T (&v)[N], T* partials, unsigned int* ticket) {{
  for (int n = 0; n < N; ++n) {{
    v[n] = block_sum(v[n]);
    __syncthreads();
  }}
  if (gridDim.x == 1) return true;
  if (threadIdx.x == 0)
    for (int n = 0; n < N; ++n) partials[n * {MAX_BLOCKS} + blockIdx.x] = v[n];
  if (!last_block(ticket, gridDim.x)) return false;
  for (int n = 0; n < N; ++n) {{
    v[n] = 0;
    for (unsigned int part = threadIdx.x; part < gridDim.x; part += blockDim.x)
      v[n] += partials[n * {MAX_BLOCKS} + part];
    v[n] = block_sum(v[n]);
    __syncthreads();
  }}
  return true;
}}
"""


class RowKernel:
    def __init__(self, name: str, writes: Sequence[Write], dtype: np.dtype) -> None:
        body = Statements(writes, dtype)
        sums = [(body.place(base_of(each.args[0]).shape), each.args[0]) for each in body.totals]
        places = [body.places[id(array)] for array, _ in writes] + [place for place, _ in sums]
        matrices = {each for each in places if each.columns > 1}
        of_rows = ROW in places or (body.rows == 1 and ONCE in places)
        self._by_warps = any(body.levels.values()) or len(matrices) + of_rows > 1
        self._width = max((each.columns for each in matrices), default=1)
        loops: dict[Place, Scope] = defaultdict(Scope)
        ends: dict[Place, list[str]] = defaultdict(list)

        def in_loop(place: Place) -> None:
            body.loop = loops[place] if self._by_warps and place.columns > 1 else body.row

        def store(write: Write) -> None:
            place = body.places[id(write.array)]
            in_loop(place)
            ends[place].append(body.stored(write))

        for each in writes:
            if id(each.array) not in body.early:
                store(each)
        for number, (place, node) in enumerate(sums):
            in_loop(place)
            ends[place].append(f"totals[{number}] += {body.value(node, place)};")
        for each in body.early.values():
            store(each)
        lines = body.row.lines
        for place, scope in loops.items():
            scope.lines += ends.pop(place)
            lines += body.over_columns(place.columns, scope)
        last = [] if body.rows == 1 else ends.pop(ONCE, [])
        stores = [line for statements in ends.values() for line in statements]
        if stores and self._by_warps:  # other lanes may still read numbers that lane 0 changes
            stores = ["__syncwarp();", "if (lane == 0) {", *stores, "}"]
        source = self._source(body, name, [array for array, _ in writes], [*lines, *stores], last)
        self._kernel = raw_kernel(name, source, T=dtype)
        self.arrays, self._rows, self._dtype = body.arrays, body.rows, dtype
        self._totals, self._numbers = len(body.totals), body.values_of_numbers

    def _source(
        self,
        body: Statements,
        name: str,
        written: Sequence[Array],
        lines: Sequence[str],
        last: Sequence[str],
    ) -> str:
        # `lines` run for each row, and `last` runs in the thread block that ends last.
        thread, threads = f"blockIdx.x * {THREADS}ll + threadIdx.x", f"gridDim.x * {THREADS}ll"
        if self._by_warps:
            head = f"""const int lane = threadIdx.x % LANES;
for (long long row = ({thread}) / LANES; row < rows; row += {threads} / LANES) {{"""
        elif self._width > 1:
            width = body.width(self._width)
            head = f"""for (long long k = {thread}; k < rows * {width}; k += {threads}) {{
const long long row = k / {width}, j = k - row * {width};"""
        else:
            head = f"for (long long row = {thread}; row < rows; row += {threads}) {{"
        sums = [f"T totals[{len(body.totals)}] = {{0}};"] if body.totals else []
        is_last = "grid_sums(totals, partials, ticket)" if sums else "last_block(ticket, gridDim.x)"
        end = [f"if ({is_last} && threadIdx.x == 0) {{", *body.last.lines, *last, "}"]
        statements = [*body.once.lines, *sums, head, *lines, "}", *(end if last else [])]
        shared = ["T* partials", "unsigned int* ticket", "long long rows"]
        parameters = [*body.pointers(written), *shared, *body.numbers]
        return function(PREAMBLE, f"void {name}", parameters, statements)

    def __call__(self, scratch: Scratch) -> None:
        blocks = -(-self._rows * (LANES if self._by_warps else self._width) // THREADS)
        if self._totals:
            blocks = min(blocks, MAX_BLOCKS)
        partials = scratch("partials", MAX_BLOCKS * max(self._totals, 1), self._dtype)
        arguments = *self.arrays, partials, scratch.tickets(1), self._rows, *self._numbers
        self._kernel((blocks,), (THREADS,), arguments)
