"""A fair lock: threads of one process that compute take turns."""

from __future__ import annotations

import os
import threading
import time

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

    def __enter__(self) -> None:
        """Take the lock, once whoever holds it lets go."""
        if not self._lock.acquire(blocking=False):
            self._waiting.append(None)
            try:
                self._lock.acquire()
            finally:
                self._waiting.pop()

    def __exit__(self, *_: object) -> None:
        """Let go of the lock, and pause if a thread waits: it takes some time to wake up."""
        self._lock.release()
        if self._waiting:
            time.sleep(HANDOVER)

    def begin_anew(self) -> None:
        """Forget the threads of a parent process, which a forked one has none of."""
        self._lock, self._waiting = threading.RLock(), []


TURNS = Turns()
"""The lock of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TURNS.begin_anew)
