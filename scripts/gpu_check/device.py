"""The device that the check runs on, and its rehearsal.

GPUNN_TEST_DEVICE means the same as in the tests (see docs/project/gpu_testing.md). With "emulated"
the script runs on tests/emulated_cuda. That rehearses the script, but proves nothing about a GPU,
and the report states this.
"""

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = REPOSITORY / "tests"
VARIABLE = "GPUNN_TEST_DEVICE"

REHEARSAL = os.environ.get(VARIABLE) == "emulated"
"""Whether this is a rehearsal on the emulated device."""

PATIENCE = 100 if REHEARSAL else 1
"""Factor of all time limits. In a rehearsal, limits only end processes that hang."""

HIDDEN = ("", "-1")
"""Values of CUDA_VISIBLE_DEVICES that hide all devices."""


def prepare() -> None:
    """Make this clone's package and tests importable; in a rehearsal, install the emulator."""
    sys.path[:0] = [str(REPOSITORY), str(TESTS)]
    if REHEARSAL and "cupy" not in sys.modules:
        import emulated_cuda

        emulated_cuda.install(devices=2)  # like the tests, which may run in the same process


def traces(root: Path = Path("/")) -> list[str]:
    """Return files that exist only on a machine with an NVIDIA GPU or its driver.

    If CUDA finds neither, they show whether a GPU is missing or does not work.
    """
    patterns = ("dev/nvidia[0-9]*", "proc/driver/nvidia/version", "proc/driver/nvidia/gpus/*")
    return [str(path) for pattern in patterns for path in sorted(root.glob(pattern))]


def hidden() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES") in HIDDEN
