"""Device memory for intermediate results, allocated once and reused by every step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import cupy
import numpy as np

from gpunn.typing import Array

__all__ = ["Buffers", "Scratch"]

Buffers: TypeAlias = dict[tuple[str, Any], Array]


class Scratch(threading.local):
    """Named buffers that grow to the largest requested size; each thread has its own."""

    def __init__(self) -> None:
        self._buffers: Buffers = {}

    def __call__(self, name: str, size: int, dtype: Any) -> Array:
        """Return a vector of at least `size` elements, valid until the next request for `name`."""
        return self._at_least(size, name, dtype, cupy.empty)

    def tickets(self, count: int) -> Array:
        """Return a vector of at least `count` zeros of type uint32.

        If the blocks of a kernel store partial sums in scratch memory, each group of blocks needs a
        ticket to find its last block (`last_block` in `kernels.raw`). The kernel resets it to 0.
        """
        return self._at_least(count, "tickets", np.dtype(np.uint32), cupy.zeros)

    def _at_least(self, size: int, name: str, dtype: Any, make: Callable[..., Array]) -> Array:
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name, dtype] = make(size, dtype)
        return buffer

    @contextmanager
    def using(self, buffers: Buffers) -> Iterator[None]:
        """Make this thread use these private buffers within the context."""
        own, self._buffers = self._buffers, buffers
        try:
            yield
        finally:
            self._buffers = own
