"""Threads of one process that compute take turns."""

from __future__ import annotations

import os
import threading
import time

__all__ = ["TURNS", "Turns"]

HANDOVER = 2e-4
"""Seconds in which a thread that waits wakes up and begins its turn."""


class Turns:
    """A lock that a thread which asks for it again and again leaves to others in between.

    What is held is short: some updates, or one batch. Thread counts of the BLAS and buffers of an
    engine belong to the whole process, so that what one thread computes would depend on what others
    do at the time. Such a thread may take the lock again while it holds it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: list[None] = []

    def __enter__(self) -> None:
        """Wait for one's turn."""
        if not self._lock.acquire(blocking=False):
            self._waiting.append(None)
            try:
                self._lock.acquire()
            finally:
                self._waiting.pop()

    def __exit__(self, *_: object) -> None:
        """End the turn. Who waits is not awake yet, and would come too late without a pause."""
        self._lock.release()
        if self._waiting:
            time.sleep(HANDOVER)

    def begin_anew(self) -> None:
        """Forget the threads of a parent process, which a forked one has none of."""
        self._lock, self._waiting = threading.RLock(), []


TURNS = Turns()
"""Those of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TURNS.begin_anew)
