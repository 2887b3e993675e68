"""Elementwise work in cache-sized chunks, on several threads where that pays."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import pairwise
from typing import Any

from gpunn.backends.numpy.scratch import CHUNK, chunks
from gpunn.backends.numpy.subnormals import flush_in_this_thread
from gpunn.typing import Array

__all__ = ["Partition"]

LARGE = 1 << 18
"""Elements from which on several threads pay: NumPy gives up Python's lock only while it
computes a chunk, and to hand a slice to a thread takes some tens of microseconds."""


class Partition:
    """Divides arrays among threads, a slice each, and a slice into chunks.

    Parameters
    ----------
    threads : int
        How many threads may work, this one included.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0
        self._lock = threading.Lock()

    def for_each(self, body: Callable[..., None], *arrays: Array) -> None:
        """Call `body(*chunks)` for all chunks of contiguous arrays of one size.

        Chunks are 1-D, and the same elements of each array.
        """
        size = arrays[0].size
        if self.threads == 1 or size < LARGE:
            for chunk in chunks(*arrays):
                body(*chunk)
            return
        flat = [array.reshape(-1) for array in arrays]
        blocks = -(-size // CHUNK)
        bounds = [blocks * part // self.threads * CHUNK for part in range(self.threads + 1)]
        slices = [[array[start:stop] for array in flat] for start, stop in pairwise(bounds)]
        # With a copy of the context each, which says what NumPy does about overflow.
        others = [
            self._executor().submit(copy_context().run, do_all, body, part) for part in slices[1:]
        ]
        do_all(body, slices[0])
        for other in others:
            other.result()

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._process != os.getpid():
                self._process = os.getpid()  # a forked process has none of its parent's threads
                self._pool = ThreadPoolExecutor(self.threads - 1, "gpunn", flush_in_this_thread)
            return self._pool


def do_all(body: Callable[..., None], arrays: list[Any]) -> None:
    """Call `body` with all chunks of the arrays."""
    for chunk in chunks(*arrays):
        body(*chunk)
