"""What tests on a CUDA device share."""

from __future__ import annotations

import devices
import pytest


@pytest.fixture(autouse=True)
def _first_device() -> None:
    """Each test begins on device 0, which isn't the backend's where there are two."""
    if devices.DEVICE:
        import cupy

        cupy.cuda.Device(0).use()
