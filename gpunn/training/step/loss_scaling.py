"""Dynamic loss scaling for float16 products, whose range is too narrow for small gradients.

The rule is from Micikevicius et al. 2018, "Mixed Precision Training", sections 3.2 and 4.2. Scales
are powers of two, so scaling only rounds numbers that become subnormal. The device adapts the
scale; the host never waits for the result of an update.
"""

from collections.abc import Mapping

import numpy as np

from gpunn.backends import Backend
from gpunn.backends.operations import Trained, UpdateCounters
from gpunn.optimizers import Optimizer
from gpunn.typing import Array


class NoLossScale:
    """Does not scale the loss, and skips no update; the base of `DynamicLossScale`."""

    hint = ""

    def __init__(self, backend: Backend) -> None:
        self.ops = backend
        self.state: Mapping[str, Array] = {}

    def normalizer(self, weight: Array) -> Array:
        """Return the divisor of the loss, shape (1,); `weight` is the sum of the rows' weights."""
        return weight

    def unscale(self, gradients: Array) -> Array | None:
        """Turn gradients of the scaled loss into gradients of the loss, in place.

        If gradients can be infinite, return an int64 array of shape (1,): 1 if all are finite,
        else 0.
        """
        return None

    def update(self, counters: UpdateCounters, optimizer: Optimizer, trained: Trained) -> None:
        self.ops.counted_update(counters, optimizer, trained)

    def count(self, counters: UpdateCounters) -> None:
        """Count an update on a rank that has no parameters to update."""
        self.ops.count_update(counters)

    def show(self, out: Array) -> None:
        """Add the loss scale to the number in `out`, shape (1,).

        Without a loss scale, `out` is unchanged.
        """

    def exhausted(self, shown: float) -> bool:
        """Return whether gradients overflow even with the smallest loss scale.

        `shown` is the loss scale that `show` has added to an array.
        """
        return False


class DynamicLossScale(NoLossScale):
    INITIAL = 2.0**16
    """The initial scale, as in PyTorch's `GradScaler`. If it is too large, updates are skipped."""
    INTERVAL = 2000
    """Number of finite updates in a row after which the scale is doubled."""
    SMALLEST, LARGEST = 2.0**-14, 2.0**24
    """With the smallest scale, gradients of predictions may be 1e9. The largest is NVIDIA
    Apex's; without it, the scale would grow to infinity while all gradients are zero."""
    FAILED = SMALLEST / 2
    """Value of the scale after even the smallest scale was too large; it is not halved further."""

    hint = (
        ". Products in float16 overflow if activations, weights or inputs exceed 65504; "
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
    needed = backend.needs_loss_scale(dtype)
    return DynamicLossScale(backend, dtype) if needed else NoLossScale(backend)
