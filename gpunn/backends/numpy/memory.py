"""Allocate arrays, large ones in large memory pages."""

import ctypes
import mmap
import sys
from math import prod
from typing import Any

import numpy as np

from gpunn.typing import Array, Shape

LARGE_PAGE = 1 << 21
"""Bytes in a large page of Linux on most processors."""

LINE = 64
"""Bytes in a cache line and in the widest vectors. NumPy does not align arrays to cache lines."""


def zeros(shape: Shape, dtype: str) -> np.ndarray:
    # A matrix product reads a matrix column by column. With pages of 4 KiB, each element of a
    # column may be on a separate page, too many pages for the processor's cache of addresses (TLB).
    size = prod(shape) * np.dtype(dtype).itemsize
    if sys.platform == "win32" or size < LARGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return aligned(np.zeros(size + LINE, np.uint8), LINE, shape, dtype)
    try:
        # MAP_SHARED would share the memory with forked processes, and has no large pages.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = mmap.mmap(-1, size + LARGE_PAGE, flags=flags)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except (OSError, ValueError, OverflowError):
        return aligned(np.zeros(size + LINE, np.uint8), LINE, shape, dtype)
    return aligned(np.frombuffer(memory, np.uint8), LARGE_PAGE, shape, dtype)


def aligned(memory: np.ndarray, alignment: int, shape: Shape, dtype: str) -> np.ndarray:
    return np.ndarray(shape, dtype, memory, -address(memory) % alignment)


def address(array: np.ndarray) -> int:
    """Return `array.ctypes.data`, the address of the first element, in less time."""
    buffer: Any = array
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    except (TypeError, ValueError):  # not contiguous, empty or read-only
        return array.ctypes.data


def contiguous(*arrays: Array) -> bool:
    return all(a.flags.c_contiguous and a.dtype == arrays[0].dtype for a in arrays)
