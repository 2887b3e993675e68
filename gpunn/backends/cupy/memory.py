"""Device memory that runs out, a device that fails, and memory that is given back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import cupy

from gpunn.backends.cupy.capture import synchronize
from gpunn.errors import DeviceError, DeviceMemoryError, GpunnError

__all__ = ["device_errors", "free_bytes", "release"]

SETTINGS = (
    "a smaller batch_size (of fit, evaluate or predict) takes less, and gradient_accumulation "
    "keeps the rows of an update as they were; stream=True leaves the data set on the host"
)

WAY_ON = (
    "CUDA tells of it after the operation that failed, and nothing runs there until this process "
    "ends: go on in a new one, from the last checkpoint. To find the operation: run it again with "
    "the environment variable CUDA_LAUNCH_BLOCKING=1 and the option graph=False, and see where the "
    "error comes from then"
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
def device_errors(device: str) -> Iterator[None]:
    """Turn errors of CuPy and of CUDA's libraries into ones that say what to do.

    Of a lack of memory they say how much there is. A kernel that fails is found out at some later
    call, and then at each one, by whatever error that call has, such as a status of cuBLAS.
    """
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
    except GpunnError:
        raise
    except RuntimeError as error:
        if failed := failure():
            raise DeviceError(f"{device}: the device has failed: {failed}. {WAY_ON}") from error
        raise


def failure() -> str:
    """Return what CUDA says of a device that has failed, and nothing of one that works."""
    try:
        synchronize()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return str(error)
    return ""


def release() -> None:
    """Give the blocks that CuPy's pools keep for reuse back to CUDA.

    A device that has failed takes none; CuPy would print an error for each.
    """
    if failure():
        return
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()
