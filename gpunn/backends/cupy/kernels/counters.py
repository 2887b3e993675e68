"""What a training step counts where its update does not count itself: a kernel of one thread."""

from __future__ import annotations

import functools
from typing import Any

import cupy

from gpunn.backends.operations import UpdateCounters

__all__ = ["count_update"]


def count_update(counters: UpdateCounters) -> None:
    """As `Operations.count_update`, by one thread."""
    rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps = counters
    count_update_kernel()(
        rates, weight, loss_sum, position, rate, updates, weight_sum, finite_steps
    )


@functools.cache
def count_update_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "raw T rates, T weight, T loss_sum",
        "int64 position, T rate, int64 updates, T weight_sum, T finite_steps",
        """rate = rates[position];
           ++position;
           ++updates;
           weight_sum += weight;
           finite_steps += isfinite(loss_sum);""",
        "gpunn_count_update",
    )
