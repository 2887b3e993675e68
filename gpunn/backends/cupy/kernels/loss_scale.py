"""Loss scaling: a scale on the device, and a flag that says whether the gradient is finite."""

from __future__ import annotations

import functools
from typing import Any

import cupy

from gpunn.typing import Array

__all__ = ["adjust_loss_scale", "scale_loss", "unscale"]


def scale_loss(weight: Array, scale: Array, normalizer: Array, finite: Array) -> None:
    """Set normalizer = weight / scale and finite = 1; all of shape (1,), `finite` of int64."""
    scale_loss_kernel()(weight, scale, normalizer, finite)


def unscale(gradients: Array, scale: Array, finite: Array) -> None:
    """Set gradients = gradients / scale; where that isn't finite, gradient = 0 and finite = 0.

    `gradients` is a vector; `scale` and `finite`, of int64, have shape (1,).
    """
    unscale_kernel()(scale, gradients, finite)


def adjust_loss_scale(
    finite: Array,
    scale: Array,
    good_updates: Array,
    updates: Array,
    interval: int,
    smallest: float,
    largest: float,
) -> None:
    """As `Operations.adjust_loss_scale`: one thread, for arrays of shape (1,)."""
    adjust_kernel()(finite, interval, smallest, largest, scale, good_updates, updates)


@functools.cache
def scale_loss_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T weight, T scale",
        "T normalizer, int64 finite",
        "normalizer = weight / scale; finite = 1;",
        "gpunn_scale_loss",
    )


@functools.cache
def unscale_kernel() -> Any:
    # Several threads may write the flag at the same time, so atomically. CUDA has this operation
    # for the unsigned type alone.
    return cupy.ElementwiseKernel(
        "raw T scale",
        "T g, raw int64 finite",
        """g /= scale[0];
           if (!isfinite(g)) {
             g = 0;
             atomicExch((unsigned long long*)&finite[0], 0ULL);
           }""",
        "gpunn_unscale",
    )


@functools.cache
def adjust_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "int64 finite, int64 interval, T smallest, T largest",
        "T scale, int64 good_updates, int64 updates",
        """if (!finite) {
             scale /= 2;
             good_updates = 0;
             --updates;
           } else if (++good_updates >= interval) {
             scale *= 2;
             good_updates = 0;
           }
           scale = min(max(scale, smallest), largest);""",
        "gpunn_adjust_loss_scale",
    )
