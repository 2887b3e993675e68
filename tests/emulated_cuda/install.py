"""Replace CUDA with the emulated devices, once in a process."""

import os
from contextlib import AbstractContextManager

from . import blas, blas_lt, cupy_private, kernels, nccl, trampolines
from .errors import EmulatorError
from .runtime import Runtime

_installed: Runtime | None = None


def install(devices: int = 1, bytes_per_device: int = 2 << 30) -> None:
    """Give this process emulated CUDA devices; call it before the first ``import cupy``.

    An allocation beyond a device's memory fails like cudaMalloc. An `EmulatorError` is raised if
    CuPy was already imported, has another release, or if settings differ from an earlier call.
    """
    global _installed
    if _installed is not None:
        if (_installed.devices, _installed.memory.capacity) != (devices, bytes_per_device):
            raise EmulatorError("emulated_cuda is already installed with other settings")
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


def watched_streams() -> AbstractContextManager[None]:
    """Return a context in which no stream may write what another stream uses at the same time.

    The check compares the memory before and after each piece of work, so it is slow.
    """
    return installed().scheduler.watched_streams()


def late_errors() -> AbstractContextManager[None]:
    """Return a context in which errors of kernels, products and copies arrive late, as in CUDA.

    The call that submits the work succeeds, and no later work runs. The next wait of the host
    raises the error, and then every call raises it. After the context the devices work again; on a
    real machine that needs another process.
    """
    return installed().scheduler.late_errors()


def installed() -> Runtime:
    """Return the emulated machine of this process; raise `EmulatorError` without one."""
    if _installed is None:
        raise EmulatorError("emulated_cuda is not installed in this process")
    return _installed
