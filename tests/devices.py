"""The backends that tests run on, and the CUDA device among them.

The variable GPUNN_TEST_DEVICE says which CUDA device the process has:

* unset: none. Tests run on NumPy and on other array-API libraries of the CPU.
* "emulated": two devices of tests/emulated_cuda, which is installed here, before anything can
  import CuPy. Only tests that need a CUDA device run.
* "cuda": a real one. The same tests run, less those of what only the emulator counts.
"""

import importlib.util
import os
from collections.abc import Callable

import array_api_compat.numpy
import pytest

from gpunn.backends import Backend, get_backend
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.recording import Operation, Trace

DEVICE = os.environ.get("GPUNN_TEST_DEVICE", "")
"""The CUDA device of this process: "", "emulated" or "cuda"."""

if DEVICE not in ("", "emulated", "cuda"):
    raise ValueError(
        f"GPUNN_TEST_DEVICE: expected 'emulated' or 'cuda', or nothing; got {DEVICE!r}"
    )

if DEVICE == "emulated":
    import emulated_cuda

    emulated_cuda.install(devices=2)


def strict(device: str) -> Backend:
    import array_api_strict

    return Backend(array_api_strict, array_api_strict.Device(device), f"strict:{device}")


def torch() -> Backend:
    import array_api_compat.torch

    return Backend(array_api_compat.torch, "cpu", "torch")


def cuda() -> Backend:
    """Return CuPy's backend, on a device that isn't the current one where there are two."""
    return get_backend("cupy:1" if DEVICE == "emulated" else "cupy")


class LoweredAlone(NumpyBackend):
    def perform(self, one: Operation) -> None:
        self.lower([one])(1)


def compiled() -> Backend:
    """Return the backend of compiled programs, which does each operation as one, on two threads."""
    from gpunn.backends.numpy.compiled import CompiledBackend

    class Each(LoweredAlone, CompiledBackend):
        def _team_size(self, trace: Trace) -> int:
            return self.threads  # also where one would do: each thread's slice is to be tested

    return Each(threads=2)


BACKENDS: dict[str, Callable[[], Backend]] = {
    "base": lambda: Backend(array_api_compat.numpy),
    "numpy": LoweredAlone,
    "strict": lambda: strict("CPU_DEVICE"),
    "strict:device1": lambda: strict("device1"),
    "strict:no_float64": lambda: strict("no_float64"),
}
"""Every backend that must give the results of the base, by name."""

if importlib.util.find_spec("numba"):
    BACKENDS["numpy:compiled"] = compiled

if importlib.util.find_spec("torch"):
    BACKENDS["torch"] = torch

if DEVICE:
    BACKENDS = {"cuda": cuda}

SINGLE_PRECISION_ONLY = {"strict:no_float64"}

TARGETS = [
    (name, dtype)
    for name in BACKENDS
    for dtype in ("float32", "float64")
    if not (dtype == "float64" and name in SINGLE_PRECISION_ONLY)
]
"""Every backend with every type it has."""

COVERED = {
    *("base-float32", "base-float64", "strict-float32", "strict-float64"),
    *("strict:device1-float32", "strict:device1-float64"),
}
"""Targets of the full run alone: the oracle itself, and what `strict:no_float64` contains."""


def in_which_run(target: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.full] if target in COVERED else []
