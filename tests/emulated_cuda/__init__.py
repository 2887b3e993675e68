"""CuPy's own host code on the CPU, for tests: emulated CUDA devices made of host memory and g++.

>>> import emulated_cuda
>>> emulated_cuda.install(devices=2)  # before the first `import cupy`
>>> import cupy
>>> with emulated_cuda.counters() as counts:
...     x = cupy.arange(6.0).sum().get()
>>> counts.host_syncs
1

See README.md for what this proves and what it cannot.
"""

from .blas_lt import refusals
from .counters import Counts, counters
from .errors import (
    CollectiveError,
    EmulatorError,
    InvalidAccessError,
    KernelFault,
    RaceError,
    UnsupportedError,
    WrongDeviceError,
)
from .install import install, late_errors, watched_streams
from .kernels import Source, reversed_threads, sources

__all__ = [
    "CollectiveError",
    "Counts",
    "EmulatorError",
    "InvalidAccessError",
    "KernelFault",
    "RaceError",
    "Source",
    "UnsupportedError",
    "WrongDeviceError",
    "counters",
    "install",
    "late_errors",
    "refusals",
    "reversed_threads",
    "sources",
    "watched_streams",
]
