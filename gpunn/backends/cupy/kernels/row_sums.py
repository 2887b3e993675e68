"""Sums over a batch's rows: each warp handles a row, and the last block adds the partial sums.

The rows of a block, and the order in which partial sums are added, depend only on shapes. So a sum
is bitwise identical in every run.
"""

from collections.abc import Sequence
from typing import Any

from gpunn.backends.cupy.kernels.raw import LANES
from gpunn.backends.cupy.scratch import Scratch
from gpunn.typing import Array

THREADS = 256
MAX_BLOCKS = 256
"""Maximum number of thread blocks, each with one partial sum, so that the last block has a thread
for each sum. In batches of more than 2048 rows, each warp handles several rows one by one."""


def row_sum_source(
    name: str, parameters: str, value: str, constants: Sequence[str] = (), preamble: str = ""
) -> str:
    """Return the source of a kernel that adds the weighted values of all rows to `total[0]`.

    `parameters` declares the kernel's first parameters, with a comma after each parameter. The last
    parameters are `constants`, numbers of type T. All threads of a warp run the statements `value`,
    which set the variable `value` to the value of row `row`. The statements may read `columns`,
    `lane` (the thread's number in the warp), the parameters and the constants. Only lane 0 needs
    the correct value.
    """
    numbers = "".join(f", T {constant}" for constant in constants)
    return f"""{preamble}
extern "C" __global__ void {name}(
    {parameters} const T* weights, T* total, T* partials, unsigned int* ticket,
    long long rows, long long columns{numbers}) {{
  const int lane = threadIdx.x % LANES;
  const long long warps = blockDim.x / LANES, stride = gridDim.x * warps;
  T sum = 0;
  for (long long row = blockIdx.x * warps + threadIdx.x / LANES; row < rows; row += stride) {{
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
    """Launch a kernel that sets total = total + sum_i weights_i value_i.

    `arguments` are the values of the kernel's first parameters. `columns` is the number of columns
    of the predictions.
    """
    rows, dtype = weights.size, weights.dtype
    blocks = min(-(-rows // (THREADS // LANES)), MAX_BLOCKS)
    if not blocks:
        return
    buffers = scratch("partials", MAX_BLOCKS, dtype), scratch.tickets(1)
    numbers = map(dtype.type, constants)
    given = *arguments, weights, total, *buffers, rows, columns, *numbers
    kernel((blocks,), (THREADS,), given)
