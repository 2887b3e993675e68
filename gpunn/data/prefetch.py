"""An iterator whose next items are made in advance by a thread."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")

POLL_INTERVAL = 0.2
"""Seconds between a waiting thread's checks for Ctrl-C, which does not wake it on Windows."""

PATIENCE = 5.0
"""Maximum seconds that `close` waits until the thread has made its current item."""


class Prefetch(Generic[T]):
    """An iterator whose items a thread makes, at most `ahead` items in advance."""

    def __init__(self, make: Callable[[], Iterator[T]], ahead: int) -> None:
        self._make, self._ahead = make, ahead
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = self._done = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._iterator: Iterator[T] | None = None
        if ahead:
            self._thread = threading.Thread(target=self._run, name="gpunn prefetch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            iterator = self._make()
            try:
                while self._has_room():
                    item = next(iterator)
                    with self._changed:
                        self._items.append(item)
                        self._changed.notify_all()
            finally:
                close(iterator)
        except StopIteration:
            pass
        except BaseException as raised:
            error = raised
        with self._changed:
            self._done, self._error = True, error
            self._changed.notify_all()

    def _has_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._ahead)
            return not self._closed

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._thread is None:
            if self._closed:
                raise StopIteration
            if self._iterator is None:
                self._iterator = self._make()
            return next(self._iterator)
        with self._changed:
            while not (self._items or self._done or self._closed):
                self._changed.wait(POLL_INTERVAL)
            if self._items and not self._closed:
                self._changed.notify_all()
                return self._items.popleft()
            error, self._error = self._error, None
        if error is not None and not self._closed:
            raise error
        raise StopIteration

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(PATIENCE)
        elif self._iterator is not None:
            close(self._iterator)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def close(iterator: object) -> None:
    if hasattr(iterator, "close"):
        iterator.close()
