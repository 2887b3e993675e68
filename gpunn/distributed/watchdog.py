"""Ends a process that has waited too long for the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gpunn.errors import DistributedError
from gpunn.terminal import write_last_words

__all__ = ["Watchdog"]

LOOKS = 20
"""Looks at the clock within the timeout; each is an instruction or two of a thread that sleeps."""


class Watchdog:
    """A thread that calls `end` once this process has waited for `timeout` seconds.

    What waits is a call into a library, which no exception of Python can interrupt. So nothing is
    raised: the process says what it waited for, and ends with all others. Lower ranks look earlier,
    so that one of them speaks for all. At each look `trouble` returns why waiting is of no use, or
    an empty string.
    """

    def __init__(
        self,
        timeout: float,
        end: Callable[[], object],
        rank: int = 0,
        trouble: Callable[[], str] = str,
    ) -> None:
        self.timeout, self._trouble = timeout, trouble
        self._end, self._rank = end, rank
        self._since, self._what = 0.0, ""
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._ending = False

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Watch what is done in this context; it may be entered within itself.

        If the wait was cut off because all processes end, it does not return before they have:
        what was waited for is of no use.
        """
        before = self._since, self._what
        self._what, self._since = what, time.monotonic()
        try:
            yield
        finally:
            self._since, self._what = before
            thread = self._thread
            if self._ending and thread is not None and thread is not threading.current_thread():
                thread.join()

    def start(self) -> None:
        """Begin to watch."""
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._watch, name="gpunn-watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        self._thread = None

    def _watch(self) -> None:
        stopped, pause = self._stopped, min(1.0, self.timeout / LOOKS)
        allowed = self.timeout + min(self._rank, 8) * pause / 8
        while not stopped.wait(pause):
            since, what = self._since, self._what
            if not since:
                continue
            trouble = self._trouble()
            if trouble or time.monotonic() - since > allowed:
                self._ending = True
                write_last_words(
                    f"gpunn: rank {self._rank} waits for the other ranks ({what}), and "
                    f"{trouble}; one of them, or the network, is lost. All end now\n"
                    if trouble
                    else f"gpunn: rank {self._rank} has waited {self.timeout:g} s for the other "
                    f"ranks ({what}); one of them is stopped, lost, or busy. All end now. "
                    "distributed.timeout sets how long to wait\n"
                )
                with suppress(DistributedError):
                    self._end()
                return
