"""Keep locks and imports usable in forked processes.

A forked process has only the thread that forked, so locks of other threads would stay locked
forever, including Python's locks of modules that other threads import.
"""

import concurrent.futures.thread  # noqa: F401  # import these two before the registration below
import logging  # noqa: F401
import os
import threading
from typing import Protocol
from weakref import WeakSet

PATIENCE = 10.0


class Renewable(Protocol):
    def renew(self) -> None:
        """Replace locks in a forked process: threads of the parent may have locked the old ones."""


_OWNERS: WeakSet[Renewable] = WeakSet()


def renewed_in_children(owner: Renewable) -> None:
    _OWNERS.add(owner)


class ForkableLock:
    """A reentrant lock for processes that fork.

    In the forked process, the lock is free, unless the thread that forks holds the lock.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        renewed_in_children(self)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self, seconds: float = -1) -> bool:
        return self._lock.acquire(timeout=seconds)

    def release(self) -> None:
        self._lock.release()

    def renew(self) -> None:
        if not self._lock._is_owned():  # type: ignore[attr-defined]
            self._lock = threading.RLock()


IMPORTING = ForkableLock()
"""Held while a function imports a module, so that no other thread forks during the import."""


class Pause(threading.local):
    held = False

    def begin(self) -> None:
        """Wait until other threads have ended their imports, at most PATIENCE seconds."""
        # With a limit, because an importing thread may wait for this thread.
        self.held = IMPORTING.acquire(PATIENCE)

    def end(self) -> None:
        if self.held:
            IMPORTING.release()

    def end_in_child(self) -> None:
        self.end()
        for owner in list(_OWNERS):
            owner.renew()


if hasattr(os, "register_at_fork"):
    # Functions run in reverse order of registration: so `logging`, which imports need, is not
    # locked yet.
    PAUSE = Pause()
    os.register_at_fork(
        before=PAUSE.begin, after_in_parent=PAUSE.end, after_in_child=PAUSE.end_in_child
    )
