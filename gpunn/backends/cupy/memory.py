"""Device memory that runs out, and memory that is given back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import cupy

from gpunn.errors import DeviceMemoryError

__all__ = ["free_bytes", "memory_errors", "release"]

SETTINGS = (
    "a smaller batch_size (of fit, evaluate or predict) takes less, and gradient_accumulation "
    "keeps the rows of an update as they were; stream=True leaves the data set on the host"
)


def free_bytes() -> int:
    """Return the bytes free on the current device.

    Those that CuPy keeps for reuse are included; those above a limit set on its pool are not.
    """
    pool = cupy.get_default_memory_pool()
    free = cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
    limit = pool.get_limit()
    return int(min(free, limit - pool.used_bytes()) if limit else free)


@contextmanager
def memory_errors(device: str) -> Iterator[None]:
    """Turn CuPy's error of a lack of memory into one that says how much there is."""
    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        asked = re.search(r"allocating ([\d,]+) bytes", str(error))
        wanted = f"{asked[1]} bytes were asked for" if asked else str(error)
        limit = cupy.get_default_memory_pool().get_limit()
        limited = f"; CuPy's pool is limited to {limit:,} bytes" if limit else ""
        raise DeviceMemoryError(
            f"{device}: out of memory: {wanted}, and {free_bytes():,} are free{limited}. To fix "
            f"it: {SETTINGS}"
        ) from error


def release() -> None:
    """Give the blocks that CuPy's pools keep for reuse back to CUDA."""
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()
