"""y = a x + b y in one pass, by NumPy's BLAS where it has a function for that.

NumPy itself takes a pass for each product and each sum. Vectors are bound once: what is returned
holds them, and is called with factors as often as one likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gpunn.backends.numpy.blas import find_blas
from gpunn.backends.numpy.scratch import contiguous
from gpunn.typing import Array

__all__ = ["LONG", "Axpby", "axpby", "axpy"]

Axpby: TypeAlias = Callable[[float, float], None]

LONG = 1 << 14
"""Elements from which on the threads of the BLAS divide a vector."""


def axpby(x: Array, y: Array, scratch: Array) -> Axpby:
    """Return f(a, b), which sets y = a x + b y, for 1-D arrays.

    Parameters
    ----------
    scratch : array
        As long as x, and not x itself; may be overwritten.
    """
    blas = find_blas()
    axpby = blas.axpby.get(x.dtype.name) if blas and contiguous(x, y) else None
    if axpby is None:

        def by_passes(a: float, b: float) -> None:
            np.multiply(x, a, out=scratch)
            if b != 1.0:
                np.multiply(y, b, out=y)
            np.add(y, scratch, out=y)

        return by_passes

    size, from_x, to_y = x.size, x.ctypes.data, y.ctypes.data

    def by_blas(a: float, b: float, kept: tuple[Array, Array] = (x, y)) -> None:
        axpby(size, a, from_x, 1, b, to_y, 1)

    return by_blas


def axpy(x: Array, y: Array) -> Callable[[float], None] | None:
    """Return f(a), which sets y = y + a x on several threads, or None if that doesn't pay.

    After a product each thread has in its core's cache what it has computed of x.
    """
    blas = find_blas()
    axpy = blas.axpy.get(x.dtype.name) if blas and contiguous(x, y) and x.size >= LONG else None
    if axpy is None:
        return None
    size, from_x, to_y = x.size, x.ctypes.data, y.ctypes.data

    def by_blas(a: float, kept: tuple[Array, Array] = (x, y)) -> None:
        axpy(size, a, from_x, 1, to_y, 1)

    return by_blas
