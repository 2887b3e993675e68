"""Which CUDA device the steps run on: a real one, or, to rehearse the script, an emulated one.

GPUNN_TEST_DEVICE means what it means to the tests (see docs/gpu.md). With "emulated" the script
runs on tests/emulated_cuda. That rehearses the script. It says nothing about a GPU, and the report
says so.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = REPOSITORY / "tests"
VARIABLE = "GPUNN_TEST_DEVICE"

REHEARSAL = os.environ.get(VARIABLE) == "emulated"
"""Whether this is a rehearsal on the emulated device."""

PATIENCE = 100 if REHEARSAL else 1
"""Factor of all limits of time. How slow a CPU is says nothing: there they end what hangs."""


def prepare() -> None:
    """Make this clone's package and tests importable, and install the emulated device if asked."""
    sys.path[:0] = [str(REPOSITORY), str(TESTS)]
    if REHEARSAL and "cupy" not in sys.modules:
        import emulated_cuda

        emulated_cuda.install(devices=2)  # as the tests do, which share the process's settings


def missing() -> str:
    """Return why there is no usable CUDA device, or "" if there is one.

    Whatever else is wrong is an error: of a device that is there nobody is to read "skipped".
    """
    from gpunn.backends import get_backend
    from gpunn.errors import BackendUnavailableError

    try:
        get_backend("cupy")
    except BackendUnavailableError as error:
        return str(error)
    return ""


def described() -> dict[str, str]:
    """Return the device's name, and the versions of what drives it."""
    from gpunn.backends import get_backend

    return get_backend("cupy").describe()
