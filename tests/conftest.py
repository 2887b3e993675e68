"""What tests of several folders share: the backends to run on."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import array_api_compat.numpy
import pytest

from gpunn.backends import Backend
from gpunn.backends.numpy import NumpyBackend


def strict(device: str) -> Backend:
    import array_api_strict

    return Backend(array_api_strict, array_api_strict.Device(device), f"strict:{device}")


def torch() -> Backend:
    import array_api_compat.torch

    return Backend(array_api_compat.torch, "cpu", "torch")


BACKENDS: dict[str, Callable[[], Backend]] = {
    "base": lambda: Backend(array_api_compat.numpy),
    "numpy": lambda: NumpyBackend(fused=False),
    "strict": lambda: strict("CPU_DEVICE"),
    "strict:device1": lambda: strict("device1"),
    "strict:no_float64": lambda: strict("no_float64"),
}
"""Every backend that must give the results of the base, by name."""

if importlib.util.find_spec("numba"):
    BACKENDS["numpy:fused"] = lambda: NumpyBackend(fused=True)

if importlib.util.find_spec("torch"):
    BACKENDS["torch"] = torch

SINGLE_PRECISION_ONLY = {"strict:no_float64"}


class Target(NamedTuple):
    """Where an operation runs, and in which type."""

    backend: Backend
    dtype: str


TARGETS = [
    (name, dtype)
    for name in BACKENDS
    for dtype in ("float32", "float64")
    if not (dtype == "float64" and name in SINGLE_PRECISION_ONLY)
]


@pytest.fixture(params=TARGETS, ids=[f"{name}-{dtype}" for name, dtype in TARGETS])
def target(request: pytest.FixtureRequest) -> Target:
    name, dtype = request.param
    return Target(BACKENDS[name](), dtype)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]()


@pytest.fixture(params=["base", "numpy"])
def host_backend(request: pytest.FixtureRequest) -> Backend:
    """The plain definitions and NumPy's own, for checks in float64."""
    return BACKENDS[request.param]()
