"""A fair lock: threads of one process that compute take turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gpunn.forks import renewed_in_children

__all__ = ["TURNS", "Turns"]

HANDOVER = 2e-4
"""Seconds in which a thread that waits wakes up and begins its turn."""


class Turns:
    """A fair lock: a thread that takes it again and again lets others have it in between.

    It is held for a short time: some updates, or one batch. Thread counts of the BLAS and buffers
    of an engine belong to the whole process; without the lock, what one thread computes would
    depend on what others do at the time. The lock is reentrant.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: list[None] = []
        self._depth = 0

    def __enter__(self) -> None:
        """Take the lock, once whoever holds it lets go."""
        if not self._lock.acquire(blocking=False):
            self._waiting.append(None)
            try:
                self._lock.acquire()
            finally:
                self._waiting.pop()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        """Let go of the lock, and pause if a thread waits: it takes some time to wake up."""
        self._depth -= 1
        self._lock.release()
        if self._waiting:
            time.sleep(HANDOVER)

    @contextmanager
    def handed_over(self) -> Iterator[None]:
        """Let other threads take turns in this context, which waits for one of them.

        The thread holds the lock when it enters, however often, and again when it leaves.
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

    def begin_anew(self) -> None:
        """Forget the threads of a parent process, which a forked one has none of."""
        self._lock, self._waiting, self._depth = threading.RLock(), [], 0


TURNS = Turns()
"""The lock of this process."""

renewed_in_children(TURNS)
