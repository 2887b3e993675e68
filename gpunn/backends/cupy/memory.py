"""Translate errors of the device, such as too little memory, and release unused memory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import cupy

from gpunn.backends.cupy.capture import synchronize
from gpunn.errors import DeviceError, DeviceMemoryError, GpunnError

SETTINGS = (
    "use a smaller batch_size; to keep the number of rows in an update, raise "
    "gradient_accumulation. Or leave the data set on the host with stream=True. If several "
    "networks train at the same time, reduce their number with the argument threads or the "
    "environment variable GPUNN_THREADS"
)

REMEDY = (
    "This process can no longer use the device. To continue: start a new process and resume from "
    "the last checkpoint. CUDA reports errors late; to find the operation that failed, run again "
    "with the environment variable CUDA_LAUNCH_BLOCKING=1 and the option graph=False, and read the "
    "traceback"
)


def free_bytes() -> int:
    pool = cupy.get_default_memory_pool()
    free = cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
    limit = pool.get_limit()
    return int(min(free, limit - pool.used_bytes()) if limit else free)


@contextmanager
def device_errors(device: str) -> Iterator[None]:
    # If a kernel fails, later calls report the failure as their own error, such as a cuBLAS status.
    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        match = re.search(r"allocating ([\d,]+) bytes", str(error))
        request = f"{match[1]} bytes were requested" if match else str(error)
        limit = cupy.get_default_memory_pool().get_limit()
        limited = f"; CuPy's pool is limited to {limit:,} bytes" if limit else ""
        raise DeviceMemoryError(
            f"{device}: out of memory: {request}, and {free_bytes():,} are free{limited}. To fix "
            f"it: {SETTINGS}"
        ) from error
    except GpunnError:
        raise
    except RuntimeError as error:
        if failed := failure():
            raise DeviceError(f"{device}: the device has failed: {failed}. {REMEDY}") from error
        raise


def failure() -> str:
    try:
        synchronize()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return str(error)
    return ""


def release() -> None:
    # On a separate stream, free only the stream's blocks, so that networks of other threads keep
    # their blocks and need not wait. If the device has failed, free nothing, because CuPy would
    # print an error for each block.
    stream, pool = cupy.cuda.get_current_stream(), cupy.get_default_memory_pool()
    if stream.ptr:
        with suppress(cupy.cuda.runtime.CUDARuntimeError):
            stream.synchronize()
            pool.free_all_blocks(stream=stream)
    elif not failure():
        pool.free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()
