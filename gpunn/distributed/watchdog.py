"""End a process that has waited too long for the other processes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gpunn.errors import DistributedError
from gpunn.terminal import write_last_words

CHECKS = 20


class Watchdog:
    """A thread that calls `end` once this process has waited for `timeout` seconds.

    The thread prints what the process waited for, and `end` ends all processes. Lower ranks have a
    shorter timeout, so only one rank prints. `trouble` returns a reason to stop waiting, or "".
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
        # If the watchdog is ending all processes, the program does not leave the context.
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
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._watch, name="gpunn-watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread = None

    def _watch(self) -> None:
        stopped, pause = self._stopped, min(1.0, self.timeout / CHECKS)
        allowed = self.timeout + min(self._rank, 8) * pause / 8
        while not stopped.wait(pause):
            since, what = self._since, self._what
            if not since:
                continue
            trouble = self._trouble()
            if trouble or time.monotonic() - since > allowed:
                self._ending = True
                write_last_words(
                    f"gpunn: rank {self._rank} waits for the other ranks ({what}), but "
                    f"{trouble}. A rank or the connection is lost, so all processes end now\n"
                    if trouble
                    else f"gpunn: rank {self._rank} has waited {self.timeout:g} s for the other "
                    f"ranks ({what}). Another rank is stopped, lost or busy, so all processes "
                    "end now. To wait longer, increase distributed.timeout\n"
                )
                with suppress(DistributedError):
                    self._end()
                return
