"""What a process that forks leaves to its child: locks, and imports that other threads are at.

A forked process has the thread that forked, and no other. A lock that another thread held stays
held there for ever, that of a module which it was importing included.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # these two before what is registered here
import logging  # noqa: F401
import os
import threading
from typing import Protocol
from weakref import WeakSet

__all__ = ["IMPORTING", "ForkableLock", "renewed_in_children"]

PATIENCE = 10.0
"""Seconds that a fork waits for another thread's import."""


class Renewable(Protocol):
    """What holds a lock."""

    def renew(self) -> None:
        """Forget what other threads of the parent process held."""


_OWNERS: WeakSet[Renewable] = WeakSet()


def renewed_in_children(owner: Renewable) -> None:
    """Have `renew` called in a forked process, as long as there is this object."""
    _OWNERS.add(owner)


class ForkableLock:
    """A reentrant lock that a forked process has free, unless its own thread holds it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        renewed_in_children(self)

    def __enter__(self) -> None:
        """Take the lock, once whoever holds it lets go."""
        self.acquire()

    def __exit__(self, *_: object) -> None:
        """Let go of the lock."""
        self.release()

    def acquire(self, seconds: float = -1) -> bool:
        """Take the lock, and return whether that came about within so many seconds."""
        return self._lock.acquire(timeout=seconds)

    def release(self) -> None:
        """Let go of the lock."""
        self._lock.release()

    def renew(self) -> None:
        """Forget a thread of the parent process."""
        if not self._lock._is_owned():  # type: ignore[attr-defined]
            self._lock = threading.RLock()


IMPORTING = ForkableLock()
"""Held by imports within functions, so that no thread forks meanwhile."""


class Pause(threading.local):
    """Holds `IMPORTING` while this thread forks."""

    held = False

    def begin(self) -> None:
        """Wait until no thread imports, but not for ever: it may wait for this one."""
        self.held = IMPORTING.acquire(PATIENCE)

    def end(self) -> None:
        """Let others import again."""
        if self.held:
            IMPORTING.release()

    def end_in_child(self) -> None:
        """Let go, and forget what other threads of the parent process held."""
        self.end()
        for owner in list(_OWNERS):
            owner.renew()


if hasattr(os, "register_at_fork"):
    # What was registered earlier is called later: `logging`, which imports need, is not held yet.
    PAUSE = Pause()
    os.register_at_fork(
        before=PAUSE.begin, after_in_parent=PAUSE.end, after_in_child=PAUSE.end_in_child
    )
