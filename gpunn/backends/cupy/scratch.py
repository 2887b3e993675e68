"""Device memory for intermediate results: allocated once, used by every step."""

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
    """Named buffers that grow to the largest size asked for; each thread has its own."""

    def __init__(self) -> None:
        self._buffers: Buffers = {}

    def __call__(self, name: str, size: int, dtype: Any) -> Array:
        """Return a vector of at least `size` elements; it lasts until `name` is asked for again."""
        return self._at_least(size, name, dtype, cupy.empty)

    def tickets(self, count: int) -> Array:
        """Return a vector of at least `count` zeros of type uint32.

        A kernel whose blocks leave partial sums in scratch memory needs one for each group of
        blocks, to find out which is the last (`last_block` in `kernels.raw`). It leaves them 0.
        """
        return self._at_least(count, "tickets", np.dtype(np.uint32), cupy.zeros)

    def _at_least(self, size: int, name: str, dtype: Any, make: Callable[..., Array]) -> Array:
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name, dtype] = make(size, dtype)
        return buffer

    @contextmanager
    def using(self, buffers: Buffers) -> Iterator[None]:
        """Let this thread use these buffers meanwhile, which nobody else does."""
        own, self._buffers = self._buffers, buffers
        try:
            yield
        finally:
            self._buffers = own
