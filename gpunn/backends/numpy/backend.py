"""The backend for the CPU, which calls NumPy."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np

from gpunn.backends.base import Backend
from gpunn.backends.numpy.blas import limit_threads
from gpunn.backends.numpy.lowerings import Calls, NumpyLowerings
from gpunn.backends.numpy.memory import zeros
from gpunn.backends.numpy.namespace import xp
from gpunn.backends.numpy.subnormals import FLUSHED
from gpunn.backends.recording import Trace, definition, lower_operations
from gpunn.backends.thread_count import default_threads, is_alone, requested_threads
from gpunn.backends.turns import TURNS
from gpunn.typing import Array, HostArray, Shape

LOWERINGS = NumpyLowerings()


class NumpyBackend(Backend):
    parallel_fits = None

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(xp, None, "numpy")
        self.options = {} if threads is None else {"threads": threads}
        self._requested = requested_threads(threads)

    @functools.cached_property
    def _threads(self) -> int:
        return self._requested or default_threads()

    @property
    def threads(self) -> int:
        return 1 if is_alone() else self._threads

    def describe(self) -> dict[str, str]:
        return {
            "backend": self.name,
            "device": f"cpu ({platform.machine()})",
            "library": f"numpy {np.__version__}",
            "threads": str(self.threads),
        }

    def zeros(self, shape: Shape, dtype: str) -> Array:
        return zeros(shape, dtype)

    def from_host(self, array: HostArray, dtype: str | None = None) -> Array:
        return np.asarray(array, dtype=dtype, order="C")

    def dtype_name(self, array: Array) -> str:
        return name_of(array.dtype)

    def copy_from_host(self, array: HostArray, out: Array) -> None:
        out[...] = array

    def overlap(self, first: Array, second: Array) -> bool:
        return np.may_share_memory(first, second)

    def to_host(self, array: Array) -> np.ndarray:
        return np.array(array, copy=True)

    def copy_to_host(self, array: Array, out: np.ndarray) -> None:
        out[...] = array

    def total(self, arrays: Sequence[Array], out: Array) -> None:
        total = 0.0
        for array in arrays:
            total += float(np.add.reduce(array))
        out[0] = total

    def lower(self, trace: Trace) -> Callable[[int], None]:
        calls = self.bound(trace)

        def repeat(times: int) -> None:
            with self.limited(), FLUSHED:
                for _ in range(times):
                    for call in calls:
                        call()

        return repeat

    def bound(self, trace: Trace) -> Calls:
        return lower_operations(trace, self, LOWERINGS, lambda one: [definition(self, one)])

    def limited(self) -> AbstractContextManager[None]:
        limited = self._requested is not None or is_alone()
        return limit_threads(self.threads) if limited else nullcontext()

    @contextmanager
    def computing(self) -> Iterator[None]:
        with TURNS, FLUSHED:
            yield


@functools.cache
def name_of(dtype: np.dtype) -> str:
    # Cached, because NumPy computes the name on each access.
    return dtype.name
