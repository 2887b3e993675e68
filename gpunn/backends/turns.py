"""A fair lock, with which the computing threads of a process take turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gpunn.forks import renewed_in_children

__all__ = ["TURNS", "Turns"]

HANDOVER = 2e-4
"""Seconds that a waiting thread needs to wake up and begin its turn."""


class Turns:
    """A fair, reentrant lock: other threads can acquire it between two uses by one thread.

    A thread holds the lock for a short time: for some updates, or one batch. The BLAS's thread
    count and an engine's buffers belong to the whole process. Without the lock, threads would
    change each other's results.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: list[None] = []
        self._depth = 0

    def __enter__(self) -> None:
        """Acquire the lock, and wait while another thread holds it."""
        if not self._lock.acquire(blocking=False):
            self._waiting.append(None)
            try:
                self._lock.acquire()
            finally:
                self._waiting.pop()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        """Release the lock; if another thread waits for it, pause to let it wake up."""
        self._depth -= 1
        self._lock.release()
        if self._waiting:
            time.sleep(HANDOVER)

    @contextmanager
    def handed_over(self) -> Iterator[None]:
        """Let other threads take turns while this context waits for one of them.

        The thread releases the lock when it enters the context, and acquires it again when it
        leaves.
        """
        owned = self._lock._is_owned()  # type: ignore[attr-defined]
        depth = self._depth if owned else 0
        if depth:
            self._depth = 0
        for _ in range(depth):
            self._lock.release()
        try:
            yield
        finally:
            for _ in range(depth):
                self._lock.acquire()
            if depth:
                self._depth = depth

    def renew(self) -> None:
        """Create a new lock in a forked process, which does not have its parent's threads."""
        self._lock, self._waiting, self._depth = threading.RLock(), [], 0


TURNS = Turns()
"""The lock of this process."""

renewed_in_children(TURNS)
