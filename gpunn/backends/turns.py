"""A fair lock, so that only one thread of a process computes at a time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gpunn.forks import renewed_in_children

HANDOVER = 2e-4
"""A waiting thread gets this time, in seconds, to wake up and acquire the lock."""


class Turns:
    """A reentrant, fair lock: a thread that releases the lock cannot overtake waiting threads.

    The lock protects the thread count of NumPy's BLAS and the buffers of recorded steps.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: list[None] = []
        self._depth = 0

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._waiting.append(None)
            try:
                self._lock.acquire()
            finally:
                self._waiting.pop()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        self._lock.release()
        if self._waiting:
            time.sleep(HANDOVER)

    @contextmanager
    def handed_over(self) -> Iterator[None]:
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
        # A forked process has no other threads.
        self._lock, self._waiting, self._depth = threading.RLock(), [], 0


TURNS = Turns()

renewed_in_children(TURNS)
