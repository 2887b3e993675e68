"""Memory for intermediate results: allocated once, used by every step."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from gpunn.typing import Array, Shape

__all__ = ["CHUNK", "Scratch", "chunks", "contiguous"]

CHUNK = 16384
"""Elements of a chunk: a few float32 arrays of this length fit a core's L2 cache."""


class Scratch(threading.local):
    """Named buffers that grow to the largest size asked for; each thread has its own."""

    def __init__(self) -> None:
        self._memory: dict[tuple[str, np.dtype], np.ndarray] = {}
        self._views: dict[tuple[str, Shape, np.dtype], np.ndarray] = {}
        self._counting = np.arange(0)

    def __call__(self, name: str, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """Return an uninitialized array; its contents last until `name` is asked for again."""
        view = self._views.get((name, shape, dtype))
        if view is None:
            size = int(np.prod(shape))
            memory = self._memory.get((name, dtype))
            if memory is None or memory.size < size:
                memory = self._memory[name, dtype] = np.empty(size, dtype)
                # Views of the smaller memory would keep it alive.
                self._views = {
                    key: old
                    for key, old in self._views.items()
                    if (key[0], key[2]) != (name, dtype)
                }
            view = self._views[name, shape, dtype] = memory[:size].reshape(shape)
        return view

    def counting(self, n: int) -> np.ndarray:
        """Return the integers from 0 to n - 1, which are not to be written to."""
        if self._counting.size < n:
            self._counting = np.arange(n)
        return self._counting[:n]


def contiguous(*arrays: Array) -> bool:
    """Return whether all arrays are C-contiguous and of one type."""
    return all(a.flags.c_contiguous and a.dtype == arrays[0].dtype for a in arrays)


def chunks(*arrays: Array) -> Iterator[list[Array]]:
    """Yield lists of the same cache-sized 1-D chunk of each array; all contiguous, of one size."""
    flat = [a.reshape(-1) for a in arrays]
    size = flat[0].size
    if size <= CHUNK:
        yield flat
        return
    for start in range(0, size, CHUNK):
        yield [a[start : start + CHUNK] for a in flat]
