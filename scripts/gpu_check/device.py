"""The device that the check runs on, and its rehearsal.

GPUNN_TEST_DEVICE means the same as in the tests (see docs/project/gpu_testing.md). With "emulated"
the script runs on tests/emulated_cuda. That rehearses the script. It proves nothing about a GPU,
and the report states that.
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

HIDDEN = ("", "-1")
"""Values of CUDA_VISIBLE_DEVICES with which no device is to be used."""


def prepare() -> None:
    """Make this clone's package and tests importable, and install the emulated device if asked."""
    sys.path[:0] = [str(REPOSITORY), str(TESTS)]
    if REHEARSAL and "cupy" not in sys.modules:
        import emulated_cuda

        emulated_cuda.install(devices=2)  # as the tests do, which share the process's settings


def traces(root: Path = Path("/")) -> list[str]:
    """Return the files that only a machine with an NVIDIA GPU or its driver has.

    Where CUDA finds neither, they tell a machine without a GPU from one whose GPU can't be used.
    """
    patterns = ("dev/nvidia[0-9]*", "proc/driver/nvidia/version", "proc/driver/nvidia/gpus/*")
    return [str(path) for pattern in patterns for path in sorted(root.glob(pattern))]


def hidden() -> bool:
    """Return whether CUDA was told to show no device."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") in HIDDEN
