"""Device memory for intermediate results, allocated once and reused by every step."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import cupy
import numpy as np

from gpunn.backends.collective import Lane
from gpunn.typing import Array

Buffers: TypeAlias = dict[tuple[Lane | None, str, Any], Array]


class Scratch(threading.local):
    def __init__(self) -> None:
        self._buffers: Buffers = {}
        self._lane: Lane | None = None
        self._outer: Any = nullcontext()

    def __call__(self, name: str, size: int, dtype: Any) -> Array:
        """Return a vector of at least `size` elements, valid until the next request for `name`."""
        return self._at_least(size, name, dtype)

    def tickets(self, count: int) -> Array:
        # A ticket counts the finished thread blocks of a group. The group's last block adds the
        # partial sums of all blocks, and resets the ticket to 0.
        return self._at_least(count, "tickets", np.dtype(np.uint32), zeros=True)

    def _at_least(self, size: int, name: str, dtype: Any, zeros: bool = False) -> Array:
        key = self._lane, name, dtype
        buffer = self._buffers.get(key)
        if buffer is None or buffer.size < size:
            if buffer is not None and self._lane is not None:
                cupy.cuda.get_current_stream().synchronize()  # kernels may use the smaller buffer
            with self._outer:
                buffer = self._buffers[key] = cupy.empty(size, dtype)
            if zeros:
                buffer.data.memset_async(0, buffer.nbytes)
        return buffer

    @contextmanager
    def using(self, buffers: Buffers) -> Iterator[None]:
        own, self._buffers = self._buffers, buffers
        try:
            yield
        finally:
            self._buffers = own

    @contextmanager
    def of_lane(self, lane: Lane) -> Iterator[None]:
        # New buffers are allocated on the stream that was current before this context, because it
        # outlives the lane's stream.
        outside = self._lane, self._outer
        self._lane, self._outer = lane, cupy.cuda.get_current_stream()
        try:
            yield
        finally:
            self._lane, self._outer = outside
