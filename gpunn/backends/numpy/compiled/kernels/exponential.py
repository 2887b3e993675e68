"""exp, written so that a loop of it becomes vector instructions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from gpunn.backends.numpy.compiled.kernels.kernel import compiled
from gpunn.backends.numpy.compiled.kernels.pointers import power_of_two

__all__ = ["exp"]

LOG2_E = np.float32(1.44269504088896341)
# log 2 in two parts, so that n log 2 is exact to more than a float32.
LOG_2_HIGH, LOG_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# The coefficients of Moshier's Cephes library (1989, expf.c), for |x| < log(2) / 2.
C5, C4, C3 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
C2, C1, C0 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)
# Below, the result is less than the least normal number and becomes 0; above, it is infinite.
LEAST, GREATEST = np.float32(-87.33654), np.float32(88.72283)
INFINITE = np.float32(np.inf)


@compiled
def single_exp(x: Any) -> Any:
    """Return exp(x) of a float32, within 2 units in the last place."""
    within = min(max(x, LEAST), GREATEST)
    within = within if x == x else ZERO
    n = np.floor(within * LOG2_E + HALF)
    n = min(n, np.float32(127))
    r = within - n * LOG_2_HIGH - n * LOG_2_LOW
    y = ((((C5 * r + C4) * r + C3) * r + C2) * r + C1) * r + C0
    result = (y * r * r + r + ONE) * power_of_two(np.int32(n))
    result = ZERO if x < LEAST else result
    result = INFINITE if x > GREATEST else result
    return result if x == x else x


def exp(x: Any) -> Any:
    """Return exp(x), in the type of x."""
    return np.exp(x)


@overload(exp)
def exp_compiled(x):  # type: ignore[no-untyped-def]  # numba compares signatures
    """Choose by type: a float64 is what checks are made in, and takes the C library's function."""
    if x == types.float32:
        return lambda x: single_exp(x)
    return lambda x: math.exp(x)
