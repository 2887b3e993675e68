"""Dynamic loss scaling, for products whose range is too narrow for small gradients.

A float16 holds nothing between 0 and 6e-8, and nothing above 65504. The gradient is computed from
the loss times a scale, and divided by the scale before it is used. The scale is as large as
overflow allows: an update with a gradient that is not finite is left out and the scale halved;
after many good updates in a row it is doubled (Micikevicius et al. 2018, "Mixed Precision
Training", sections 3.2 and 4.2, which take 2000). Scales are powers of two, so that scaling
rounds nothing but what ends below the normal numbers of its type.

All of that happens on the device: nothing waits to learn whether an update was done.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gpunn.backends import Backend
from gpunn.backends.operations import Trained, UpdateCounters
from gpunn.optimizers import Optimizer
from gpunn.typing import Array

__all__ = ["DynamicLossScale", "NoLossScale", "loss_scale"]


class NoLossScale:
    """The loss as it is; every update is done.

    `state` changes in training, on the device; `hint` says what else to do when training diverges.
    """

    hint = ""

    def __init__(self, backend: Backend) -> None:
        self.ops = backend
        self.state: Mapping[str, Array] = {}

    def normalizer(self, weight: Array) -> Array:
        """Return what the loss is to be divided by, for rows of this total weight, shape (1,)."""
        return weight

    def unscale(self, gradients: Array) -> Array | None:
        """Turn the gradients of the scaled loss into those of the loss.

        Returns an array of int64 and shape (1,), whether they are finite, if they may not be.
        """
        return None

    def update(self, counters: UpdateCounters, optimizer: Optimizer, trained: Trained) -> None:
        """Count an update and do it."""
        self.ops.counted_update(counters, optimizer, trained)

    def count(self, counters: UpdateCounters) -> None:
        """Count an update that others do, of parameters of which there are none here."""
        self.ops.count_update(counters)

    def show(self, out: Array) -> None:
        """Add to a number, of shape (1,), what `exhausted` has to know."""

    def exhausted(self, shown: float) -> bool:
        """Return whether gradients are not finite whatever the scale, from what `show` added."""
        return False


class DynamicLossScale(NoLossScale):
    """A scale that is found in training, for gradients of the type `dtype`."""

    INITIAL = 2.0**16
    """As PyTorch's `GradScaler` has it. Where it is too large, the first updates are left out."""
    INTERVAL = 2000
    """Good updates in a row before the scale is doubled."""
    SMALLEST, LARGEST = 2.0**-14, 2.0**24
    """With the smallest, gradients of the predictions up to 1e9 can be represented. The largest is
    that of NVIDIA's Apex; without one, gradients of zero would double the scale to infinity."""
    FAILED = SMALLEST / 2
    """What the smallest scale is halved to, and no further: it was too large as well."""

    hint = (
        ". Products in float16 overflow where activations, weights or inputs exceed 65504; "
        "matmul_precision='bfloat16' has the range of float32"
    )

    def __init__(self, backend: Backend, dtype: str) -> None:
        super().__init__(backend)
        self.scale = backend.from_host(np.array([self.INITIAL]), dtype)
        self.good_updates = backend.zeros((1,), "int64")
        self.state = {"loss_scale": self.scale, "good_updates": self.good_updates}
        self._normalizer = backend.zeros((1,), dtype)
        self._finite = backend.zeros((1,), "int64")

    def normalizer(self, weight: Array) -> Array:
        self.ops.scale_loss(weight, self.scale, self._normalizer, self._finite)
        return self._normalizer

    def unscale(self, gradients: Array) -> Array | None:
        self.ops.unscale(gradients, self.scale, self._finite)
        return self._finite

    def update(self, counters: UpdateCounters, optimizer: Optimizer, trained: Trained) -> None:
        self.ops.count_update(counters)
        rate, updates = counters.rate, counters.updates
        self.ops.update_if_finite(self._finite, optimizer, trained, rate, updates)
        self._adjust(counters)

    def count(self, counters: UpdateCounters) -> None:
        self.ops.count_update(counters)
        self._adjust(counters)

    def _adjust(self, counters: UpdateCounters) -> None:
        self.ops.adjust_loss_scale(
            self._finite,
            self.scale,
            self.good_updates,
            counters.updates,
            self.INTERVAL,
            self.FAILED,
            self.LARGEST,
        )

    def show(self, out: Array) -> None:
        self.ops.accumulate(self.scale, out)

    def exhausted(self, shown: float) -> bool:
        return shown < self.SMALLEST


def loss_scale(backend: Backend, dtype: str) -> NoLossScale:
    """Return the loss scale for gradients of this type."""
    needed = backend.needs_loss_scale(dtype)
    return DynamicLossScale(backend, dtype) if needed else NoLossScale(backend)
