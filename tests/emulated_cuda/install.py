"""Put the emulated devices in the place of CUDA, once in a process."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from . import blas, blas_lt, cupy_private, kernels, nccl, trampolines
from .errors import EmulatorError
from .runtime import Runtime

_installed: Runtime | None = None


def install(devices: int = 1, bytes_per_device: int = 2 << 30) -> None:
    """Give this process emulated CUDA devices; call it before the first ``import cupy``.

    An allocation beyond a device's memory fails as cudaMalloc would. An `EmulatorError` is raised
    if CuPy was imported already or isn't the known release, or for other settings than before.
    """
    global _installed
    if _installed is not None:
        if (_installed.devices, _installed.memory.capacity) != (devices, bytes_per_device):
            raise EmulatorError("emulated_cuda is installed already, with other settings")
        return
    if devices < 1:
        raise EmulatorError(f"devices must be at least 1, not {devices}")
    cupy_private.check()
    os.environ.update(cupy_private.ENVIRONMENT)
    runtime = Runtime(devices, bytes_per_device)
    trampolines.replace(cupy_private.runtime_module(), runtime.runtime_functions())
    trampolines.replace(cupy_private.driver_module(), runtime.driver_functions())
    blas_lt.connect(runtime)
    blas.connect(runtime)
    nccl.connect(runtime)
    cupy_private.replace_compiler(kernels.compile_source)
    runtime.watch_pools()
    _installed = runtime


def without_peer_access() -> AbstractContextManager[None]:
    """Return a context in which no device can touch another one's memory.

    On most machines with several devices it can, and so it can here: CuPy then lets kernels reach
    into the other device.
    """
    return installed().without_peer_access()


def late_errors() -> AbstractContextManager[None]:
    """Return a context in which errors of kernels, products and copies come as CUDA's do.

    The call that submits the work succeeds, and nothing submitted from then on is run. The host
    learns of it where it waits next; from there on, every call raises the same. Outside the context
    the devices work again, for which a real machine needs another process.
    """
    return installed().scheduler.late_errors()


def installed() -> Runtime:
    """Return the emulated machine of this process; an `EmulatorError` if there is none."""
    if _installed is None:
        raise EmulatorError("emulated_cuda is not installed in this process")
    return _installed
