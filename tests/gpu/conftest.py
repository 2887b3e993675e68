"""Fixtures of tests on a CUDA device."""

import devices
import pytest


@pytest.fixture(autouse=True)
def _first_device() -> None:
    """Each test starts on device 0; if there are two devices, the backend uses the other one."""
    if devices.DEVICE:
        import cupy

        cupy.cuda.Device(0).use()
