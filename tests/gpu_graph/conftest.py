"""Tests of recording, products and memory, on a CUDA device or the emulated one.

They need a process with GPUNN_TEST_DEVICE set; see tests/devices.py.
"""

import devices
import pytest

if not devices.DEVICE:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _first_device() -> None:
    """Each test starts on device 0, with the default stream."""
    if devices.DEVICE:
        import cupy

        cupy.cuda.Device(0).use()
        cupy.cuda.Stream.null.use()


@pytest.fixture
def emulator():
    """The emulator, for its counters; a real device has none."""
    if devices.DEVICE != "emulated":
        pytest.skip("counts what only the emulated device counts")
    import emulated_cuda

    return emulated_cuda
