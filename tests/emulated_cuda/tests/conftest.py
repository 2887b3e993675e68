"""Install the emulator before a test module imports CuPy; without CuPy or g++, run no test."""

import gc
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

import emulated_cuda

if importlib.util.find_spec("cupy") is None or shutil.which("g++") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    emulated_cuda.install(devices=2)


@pytest.fixture(autouse=True)
def _first_device():
    """Each test starts and ends on device 0 with the default stream and the default pool."""
    import cupy

    gc.collect()  # what other tests left would go, and be counted, at any time
    # A stream may get the address of one whose work may still run; CuPy's pool can't tell them
    # apart, and would give it the other one's memory.
    for device in (1, 0):
        cupy.cuda.Device(device).synchronize()
    cupy.cuda.Device(0).use()
    cupy.cuda.Stream.null.use()
    yield
    cupy.cuda.Device(0).use()
    cupy.cuda.Stream.null.use()


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(int(os.environ.get("TEST_SEED", "0")))


@pytest.fixture
def pool():
    """A separate pool, because other tests' use of the default pool changes its behavior."""
    import cupy

    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        yield pool
