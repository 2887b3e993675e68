"""Count updates with a kernel of one thread, if the updates' own kernels do not count them."""

from functools import partial

import cupy

from gpunn.backends.cupy.kernels.raw import Calls
from gpunn.backends.recording import Arguments

COUNT_UPDATE = cupy.ElementwiseKernel(
    "raw T rates, T weight, T loss_sum",
    "int64 position, T rate, int64 updates, T weight_sum, T finite_steps",
    """const long long at = position, count = updates + 1;
       const T total = weight_sum + weight, steps = finite_steps + isfinite(loss_sum);
       rate = rates[at];
       position = at + 1;
       updates = count;
       weight_sum = total;
       finite_steps = steps;""",
    "gpunn_count_update",
)


def count_update(op: Arguments) -> Calls:
    rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps = op.counters
    outputs = position, rate, updates, weight_sum, finite_steps
    return [partial(COUNT_UPDATE, rates, weight, loss_sum, *outputs)]
