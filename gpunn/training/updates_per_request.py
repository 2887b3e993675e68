"""How many updates to ask for at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["UpdatesPerRequest"]


class UpdatesPerRequest:
    """Few enough updates that the host looks up often, many enough that asking costs nothing.

    The host shows progress and notices Ctrl-C only between two requests. The number of updates in a
    request doubles as long as it takes less than half of `seconds`, and halves beyond `seconds`.

    A device that is only given work by the host would be given far more than it does in that time.
    So the host waits for it, by `wait`, at the end of a request. A request that was cut short, by a
    report point or the end of the data, is not waited for; where updates are quick, all of them are
    soon.
    """

    def __init__(self, wait: Callable[[], None], seconds: float = 0.1) -> None:
        self.seconds = seconds
        self.updates = 1
        self._wait = wait
        self._began = 0.0

    def begin(self) -> None:
        """Note that a request begins."""
        self._began = time.perf_counter()

    def end(self, updates: int) -> None:
        """Note that a request for so many updates has ended, with more of the data to come."""
        if updates < self.updates:
            return
        self._wait()
        took = time.perf_counter() - self._began
        if took > self.seconds:
            self.updates = max(1, self.updates // 2)
        elif took < self.seconds / 2:
            self.updates *= 2
