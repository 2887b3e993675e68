"""Sums over the rows of a batch: a warp takes a row at a time, the last block adds partial sums.

Which rows a block takes, and in which order partial sums are added, depends on shapes alone: the
bits of a sum are the same each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpunn.backends.cupy.kernels.raw import LANES
from gpunn.backends.cupy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["add_over_rows", "row_sum_source"]

THREADS = 256
MAX_BLOCKS = 256
"""Each row has a warp of its own up to 2048 rows; beyond, a warp takes several, one after the
other, so that there are never more partial sums than the last block has threads."""


def row_sum_source(
    name: str, parameters: str, value: str, constants: Sequence[str] = (), preamble: str = ""
) -> str:
    """Return the source of a kernel that adds the weighted values of all rows to `total[0]`.

    `parameters`, each followed by a comma, come before `weights`, and `constants`, numbers T, last.
    `value` has statements of a whole warp that set `value`, the one of `row`, from `columns`, the
    thread's `lane`, the parameters and the constants. It has to be right in lane 0 only.
    """
    numbers = "".join(f", T {constant}" for constant in constants)
    return f"""{preamble}
extern "C" __global__ void {name}(
    {parameters} const T* weights, T* total, T* partials, unsigned int* ticket,
    long long rows, long long columns{numbers}) {{
  const int lane = threadIdx.x % LANES;
  const long long warps = blockDim.x / LANES, apart = gridDim.x * warps;
  T sum = 0;
  for (long long row = blockIdx.x * warps + threadIdx.x / LANES; row < rows; row += apart) {{
    T value;
    {value}
    if (lane == 0) sum += weights[row] * value;
  }}
  if (grid_sum(sum, partials, ticket) && threadIdx.x == 0) total[0] += sum;
}}
"""


def add_over_rows(
    kernel: Any,
    arguments: Sequence[Any],
    weights: Array,
    total: Array,
    columns: int,
    constants: Sequence[float],
    scratch: Scratch,
) -> None:
    """Launch a kernel of `row_sum_source`, which sets total = total + sum_i weights_i value_i.

    `arguments` are those of the source's parameters, `columns` those of the predictions.
    """
    rows, dtype = weights.size, weights.dtype
    blocks = min(-(-rows // (THREADS // LANES)), MAX_BLOCKS)
    if not blocks:
        return
    room = scratch("partials", MAX_BLOCKS, dtype), scratch.tickets(1)
    numbers = map(dtype.type, constants)
    given = *arguments, weights, total, *room, rows, columns, *numbers
    kernel((blocks,), (THREADS,), given)
