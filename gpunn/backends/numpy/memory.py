"""How arrays lie in memory.

Large ones lie on large pages, of which the processor has to translate fewer addresses (TLB).
"""

from __future__ import annotations

import mmap
import sys
from math import prod

import numpy as np

from gpunn.typing import Array, Shape

__all__ = ["contiguous", "zeros"]

LARGE_PAGE = 1 << 21
"""Bytes in a large page of Linux on most processors."""

LINE = 64
"""Bytes in a cache line, and in the widest vectors. NumPy's own memory begins between two."""


def zeros(shape: Shape, dtype: str) -> np.ndarray:
    """Return an array of zeros; a large one begins at a large page, if the system has such.

    A matrix product goes down the columns of matrices whose rows are pages apart. With pages of 4
    KiB each element of a column is on a page of its own, more than the processor keeps track of.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if sys.platform == "win32" or size < LARGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return aligned(np.zeros(size + LINE, np.uint8), LINE, shape, dtype)
    try:
        # Private: what is shared would still be so after a fork, and has no large pages.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = mmap.mmap(-1, size + LARGE_PAGE, flags=flags)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except (OSError, ValueError, OverflowError):
        return aligned(np.zeros(size + LINE, np.uint8), LINE, shape, dtype)
    return aligned(np.frombuffer(memory, np.uint8), LARGE_PAGE, shape, dtype)


def aligned(memory: np.ndarray, alignment: int, shape: Shape, dtype: str) -> np.ndarray:
    """Return an array in this memory that begins at a multiple of `alignment` bytes."""
    start = -memory.ctypes.data % alignment
    size = prod(shape) * np.dtype(dtype).itemsize
    return memory[start : start + size].view(dtype).reshape(shape)


def contiguous(*arrays: Array) -> bool:
    """Return whether all arrays are C-contiguous and of one type."""
    return all(a.flags.c_contiguous and a.dtype == arrays[0].dtype for a in arrays)
