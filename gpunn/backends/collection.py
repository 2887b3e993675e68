"""Pauses Python's cyclic garbage collector while steps are recorded or captured."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gpunn.forks import renewed_in_children


class Collection:
    """The garbage collector, which is off while at least one thread is in a `pause`.

    Recordings create many objects, so collections would take longer than a recording itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pauses: dict[object, int] = {}  # the thread of each pause
        self._was_enabled = False
        renewed_in_children(self)

    @contextmanager
    def pause(self) -> Iterator[None]:
        this = object()
        try:  # begins before collection is off, since Ctrl-C may come immediately afterwards
            with self._lock:
                self._was_enabled = bool(self._was_enabled if self._pauses else gc.isenabled())
                self._pauses[this] = threading.get_ident()
                gc.disable()
            yield
        finally:
            with self._lock:
                self._pauses.pop(this, None)
                self._end()

    def renew(self) -> None:
        self._lock, own = threading.Lock(), threading.get_ident()
        self._pauses = {this: thread for this, thread in self._pauses.items() if thread == own}
        self._end()

    def _end(self) -> None:
        if self._was_enabled and not self._pauses:
            gc.enable()
            self._was_enabled = False


COLLECTION = Collection()
