"""Choosing a backend by name; nothing is ever chosen silently."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gpunn.backends.base import Backend
from gpunn.backends.claims import claim
from gpunn.backends.cupy.options import CudaOptions
from gpunn.backends.thread_count import check_threads
from gpunn.errors import ArgumentError, ArgumentTypeError, BackendUnavailableError, suggest
from gpunn.forks import IMPORTING

__all__ = ["VARIABLE", "available_backends", "choose_backend", "get_backend", "settle_backend"]

VARIABLE = "GPUNN_BACKEND"
NAMES = ("auto", "numpy", "cupy", "cupy:0")

logger = logging.getLogger("gpunn")


def choose_backend(argument: str | None = None, configured: str | None = None) -> str:
    """Return the name that takes precedence.

    An argument (or command-line option) comes before the variable GPUNN_BACKEND, that before a
    configuration's key, and that before "auto".

    Parameters
    ----------
    argument : str or None
        The name that was given as an argument or option.
    configured : str or None
        The name in a configuration.

    Returns
    -------
    str
        Such as "cupy:1"; it is not checked.

    Examples
    --------
    >>> from gpunn.backends import choose_backend
    >>> choose_backend("cupy", configured="numpy")
    'cupy'
    """
    return _chosen(argument, configured)[0]


def settle_backend(
    argument: str | None = None,
    configured: str | None = None,
    *,
    threads: int | None = None,
    **options: Any,
) -> Backend:
    """Return the backend whose name takes precedence, with options and errors of `get_backend`.

    The message about a wrong name says where that comes from. A configuration's name has to be one
    even where another takes precedence.
    """
    if configured:
        _check_name(configured, "backend")
    return _made(*_chosen(argument, configured), CudaOptions(**options), _checked(threads))


def get_backend(
    backend: str | Backend | None = None,
    *,
    graph: bool = True,
    matmul_precision: str = "float32",
    fused_products: bool = True,
    matmul_algorithms: str = "heuristic",
    threads: int | None = None,
) -> Backend:
    """Return the backend to compute with, by its name.

    Parameters
    ----------
    backend : str, Backend or None
        "numpy" computes on the CPU; "cupy" on the current CUDA device and "cupy:1" on device
        number 1; "auto" on a CUDA device if one is usable and on the CPU otherwise, which it says
        once, worker processes included. None is what the environment variable GPUNN_BACKEND holds,
        or "auto". A backend is returned as it is.
    graph : bool
        On a CUDA device: whether a training step is recorded as a CUDA graph and replayed, which
        spares the host the launching of each kernel. Results are the same.
    matmul_precision : {"float32", "tf32", "bfloat16", "float16"}
        On a CUDA device: what products of float32 matrices may be computed in. Less is faster on
        tensor cores; matrices, sums and parameters stay float32.
    fused_products : bool
        On a CUDA device: whether biases, ReLU and gradients of biases may be part of products of
        float32 matrices, which spares kernels of their own. Results may differ in rounding.
    matmul_algorithms : {"heuristic", "measured"}
        On a CUDA device: whether products of float32 matrices are done by the algorithm that cuBLAS
        expects to be the fastest, or by the fastest of several, which are timed in the first step.
        Results differ in rounding; checkpoints hold which ones were chosen.
    threads : int or None
        On the CPU: how many threads compute; None is what the environment variable GPUNN_THREADS
        holds, or OMP_NUM_THREADS, or one for each core that this process may use. Results are the
        same bits on every run with the same number.

    Returns
    -------
    Backend
        A new one with these options, or `backend` itself if it is one.

    Raises
    ------
    BackendUnavailableError
        If CuPy, the driver, a CUDA library or the device is missing; the message says which, and
        what to do. Nothing but "auto" ever falls back to the CPU.
    ArgumentError
        If there is no backend of that name, or an option is impossible.

    Examples
    --------
    >>> import gpunn
    >>> gpunn.get_backend("numpy")
    <gpunn backend 'numpy'>
    """
    options = CudaOptions(graph, matmul_precision, fused_products, matmul_algorithms)
    threads = _checked(threads)
    if isinstance(backend, Backend):
        if options != CudaOptions() or threads is not None:
            names = ", ".join([*asdict(options), "threads"])
            raise ArgumentError(f"{names}: {backend!r} has its options already")
        return backend
    if backend is not None and not isinstance(backend, str):
        raise ArgumentTypeError(f"backend: expected a name or a Backend; got {backend!r}")
    return _made(*_chosen(backend), options, threads)


def made_again(name: str, options: Mapping[str, Any]) -> Backend:
    """Return the backend of this name with these options, as one that was pickled had them.

    Parameters
    ----------
    name, options : str, mapping
        As `get_backend` takes them.

    Returns
    -------
    Backend
        A new one.
    """
    return get_backend(name, **options)


Backend.maker = made_again


def available_backends() -> list[str]:
    """Return the names of all backends that work on this machine.

    Returns
    -------
    list of str
        "numpy", and "cupy:0" and so on for CUDA devices.

    See Also
    --------
    get_backend : Returns one of them.

    Examples
    --------
    >>> import gpunn
    >>> gpunn.available_backends()[0]
    'numpy'
    """
    with IMPORTING:
        from gpunn.backends.cupy.diagnosis import usable_devices

    return ["numpy", *(f"cupy:{index}" for index in usable_devices())]


def _chosen(argument: str | None, configured: str | None = None) -> tuple[str, str]:
    """Return the name that takes precedence, and what a message calls the place it is from."""
    variable = os.environ.get(VARIABLE)
    places = ((argument, "backend"), (variable, VARIABLE), (configured, "backend"))
    return next(((name, origin) for name, origin in places if name), ("auto", "backend"))


def _checked(threads: int | None) -> int | None:
    return None if threads is None else check_threads("threads", threads)


def _made(name: str, origin: str, options: CudaOptions, threads: int | None) -> Backend:
    if name == "numpy":
        return _numpy(threads)
    if name == "auto":
        return _automatic(options, threads)
    _check_name(name, origin)
    number = name.partition(":")[2]
    return _cupy(int(number) if number else None, options)


def _check_name(name: str, origin: str) -> None:
    if not re.fullmatch(r"auto|numpy|cupy(:\d+)?", name):
        raise ArgumentError(f"{origin}: there is no backend {name!r}; {suggest(name, NAMES)}")


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
        _say_once(error.problem)
        return _numpy(threads)


@functools.cache
def _say_once(reason: str) -> None:
    if claim("auto"):
        logger.warning(
            "gpunn: backend 'auto' chose 'numpy': %s. gpunn doctor says how to use a GPU; with "
            "GPUNN_BACKEND=numpy this is not told",
            reason,
        )
