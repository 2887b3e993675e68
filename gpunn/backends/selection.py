"""Select a backend by name. If a user names a backend, gpunn never uses another backend instead."""

from __future__ import annotations

import errno
import functools
import logging
import multiprocessing
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gpunn.backends.base import Backend
from gpunn.backends.cupy.options import CudaOptions
from gpunn.backends.cupy.signs import has_signs_of_gpu
from gpunn.backends.thread_count import check_threads
from gpunn.errors import ArgumentError, ArgumentTypeError, BackendUnavailableError
from gpunn.forks import IMPORTING
from gpunn.hints import advice

VARIABLE = "GPUNN_BACKEND"
NAMES = ("auto", "numpy", "cupy", "cupy:0")

logger = logging.getLogger("gpunn")


def choose_backend(argument: str | None = None, configured: str | None = None) -> str:
    """Return the backend's name from the first source that gives a name.

    In order of priority, the sources are an argument or command-line option, the environment
    variable GPUNN_BACKEND, a configuration's key, and "auto".

    Parameters
    ----------
    argument : str or None
        The name in an argument or option.
    configured : str or None
        The name in a configuration.

    Returns
    -------
    str
        A name such as "cupy:1", which is not checked.

    Examples
    --------
    >>> from gpunn.backends import choose_backend
    >>> choose_backend("cupy", configured="numpy")
    'cupy'
    """
    return _choose(argument, configured)[0]


def settle_backend(
    argument: str | None = None,
    configured: str | None = None,
    *,
    threads: int | None = None,
    **options: Any,
) -> Backend:
    # The configured name is checked even if another source has priority.
    if configured:
        _check_name(configured, "backend")
    return _create(*_choose(argument, configured), CudaOptions(**options), _check_threads(threads))


def get_backend(
    backend: str | Backend | None = None,
    *,
    graph: bool = True,
    matmul_precision: str = "float32",
    fused_products: bool = True,
    matmul_algorithms: str = "heuristic",
    threads: int | None = None,
) -> Backend:
    """Return a backend by name.

    Parameters
    ----------
    backend : str, Backend or None
        "numpy" computes on the CPU. "cupy" computes on the current CUDA device, and "cupy:1" on
        device number 1. "auto" selects a usable CUDA device, or else the CPU. Falling back to the
        CPU logs a warning if the machine has signs of a GPU, such as CuPy. None means the name in
        the environment variable GPUNN_BACKEND, or else "auto". A Backend is returned unchanged.
    graph : bool
        On a CUDA device: whether to replay training steps as CUDA graphs. Results are the same.
    matmul_precision : {"float32", "tf32", "bfloat16", "float16"}
        On a CUDA device: the precision to which products of float32 matrices may round factors.
        Lower precision is faster on tensor cores. Matrices, sums and parameters stay float32.
        "float16" has a narrow range, from 6e-8 to 65504, so training scales the loss.
    fused_products : bool
        On a CUDA device: whether the kernel of a product of float32 matrices may also add a bias,
        apply ReLU or compute a bias's gradient. This may change how results are rounded.
    matmul_algorithms : {"heuristic", "measured"}
        On a CUDA device: how to choose algorithms for float32 products. With "heuristic", cuBLAS
        predicts the fastest algorithm. With "measured", gpunn times several algorithms in the first
        step, and checkpoints store the fastest ones. The choice affects rounding.
    threads : int or None
        On the CPU: the number of threads. None means the number in the environment variable
        GPUNN_THREADS, or else in OMP_NUM_THREADS, or else one thread for each core that this
        process may use. Repeated runs with the same number of threads are bitwise identical.

    Returns
    -------
    Backend
        A new backend with the given options, or `backend` itself if it is a Backend.

    Raises
    ------
    BackendUnavailableError
        If CuPy, the driver, a CUDA library or the device is missing. The message names the missing
        requirement and a remedy. Only "auto" falls back to the CPU.
    ArgumentError
        If no backend has the name, or if an option is invalid.

    Examples
    --------
    >>> gpunn.get_backend("numpy")
    <gpunn backend 'numpy'>
    """
    options = CudaOptions(graph, matmul_precision, fused_products, matmul_algorithms)
    threads = _check_threads(threads)
    if isinstance(backend, Backend):
        if options != CudaOptions() or threads is not None:
            names = ", ".join([*asdict(options), "threads"])
            raise ArgumentError(
                f"{names}: cannot be combined with {backend!r}, which already has options; give a "
                "backend's name instead"
            )
        return backend
    if backend is not None and not isinstance(backend, str):
        raise ArgumentTypeError(f"backend: expected a name or a Backend; got {backend!r}")
    return _create(*_choose(backend), options, threads)


def made_again(name: str, options: Mapping[str, Any]) -> Backend:
    # Pickled backends contain this function's name.
    return get_backend(name, **options)


Backend._maker = made_again


def available_backends() -> list[str]:
    """Return the names of all backends that work on this machine.

    Returns
    -------
    list of str
        The name "numpy", and the names "cupy:0", "cupy:1" and so on of CUDA devices.

    See Also
    --------
    get_backend : Returns a backend by name.

    Examples
    --------
    >>> gpunn.available_backends()[0]
    'numpy'
    """
    with IMPORTING:
        from gpunn.backends.cupy.diagnosis import usable_devices

    return ["numpy", *(f"cupy:{index}" for index in usable_devices())]


def _choose(argument: str | None, configured: str | None = None) -> tuple[str, str]:
    variable = os.environ.get(VARIABLE)
    sources = ((argument, "backend"), (variable, VARIABLE), (configured, "backend"))
    return next(((name, origin) for name, origin in sources if name), ("auto", "backend"))


def _check_threads(threads: int | None) -> int | None:
    return None if threads is None else check_threads("threads", threads)


def _create(name: str, origin: str, options: CudaOptions, threads: int | None) -> Backend:
    if name == "numpy":
        return _numpy(threads)
    if name == "auto":
        return _automatic(options, threads)
    _check_name(name, origin)
    number = name.partition(":")[2]
    return _cupy(int(number) if number else None, options)


def _check_name(name: str, origin: str) -> None:
    if not re.fullmatch(r"auto|numpy|cupy(:\d+)?", name):
        raise ArgumentError(
            f"{origin}: there is no backend {name!r}; {advice('Backend', name, NAMES)}"
        )


def _numpy(threads: int | None) -> Backend:
    with IMPORTING:
        from gpunn.backends.numpy.compiled import CompiledBackend

    return CompiledBackend(threads)


def _cupy(device: int | None, options: CudaOptions) -> Backend:
    with IMPORTING:
        from gpunn.backends.cupy.diagnosis import require_device

    require_device(device)
    with IMPORTING:
        from gpunn.backends.cupy import CupyBackend

    return CupyBackend(device, **asdict(options))


def _automatic(options: CudaOptions, threads: int | None) -> Backend:
    try:
        return _cupy(None, options)
    except BackendUnavailableError as error:
        _warn_once(error.problem)
        return _numpy(threads)


@functools.cache
def _warn_once(reason: str) -> None:
    if has_signs_of_gpu() and claim("auto"):
        logger.warning(
            "gpunn: backend 'auto' chose 'numpy': %s. To use a GPU, run: gpunn doctor. To hide "
            "this warning, set GPUNN_BACKEND=numpy",
            reason,
        )


HELD: dict[str, int] = {}
"""File descriptors of claims (see `claim`), by name. The system closes them when the process
ends."""


def claim(subject: str) -> bool:
    # A process and its workers (of multiprocessing or joblib) form a tree. A claim is the name of
    # an abstract Unix socket, which only one process can bind. The operating system frees the name
    # when the process ends. Only Linux has such sockets; on other systems, each process shows the
    # message.
    parent = multiprocessing.parent_process()
    root = os.getpid() if parent is None else parent.pid
    name = f"\0gpunn-{subject}-{root}"
    if name in HELD or not hasattr(socket, "AF_UNIX"):
        return True
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(name)
    except OSError as error:
        holder.close()
        return error.errno != errno.EADDRINUSE
    HELD[name] = holder.detach()
    return True
