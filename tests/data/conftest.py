"""Fixtures of the tests of data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def mapped(tmp_path: Path) -> Callable[..., np.ndarray]:
    def write(array, mode="r"):
        np.save(tmp_path / "array.npy", array)
        return np.load(tmp_path / "array.npy", mmap_mode=mode)

    return write
