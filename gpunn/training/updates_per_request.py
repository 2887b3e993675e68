"""Choose how many updates to request from the backend at a time."""

from __future__ import annotations

import time
from collections.abc import Callable


class UpdatesPerRequest:
    """Adapts the number of updates in a request, so that a request takes about `seconds`.

    The host shows progress and notices Ctrl-C only between two requests. The number of updates
    doubles if a request takes less than half of `seconds`, and halves if a request takes longer
    than `seconds`.

    The host can request work faster than a device does the work, so the host calls `wait` at the
    end of a request. The host does not wait after a shorter request, which ends at a logging step
    or at the end of the data.
    """

    def __init__(self, wait: Callable[[], None], seconds: float = 0.1) -> None:
        self.seconds = seconds
        self.updates = 1
        self._wait = wait
        self._began = 0.0

    def begin(self) -> None:
        """Start to time a request."""
        self._began = time.perf_counter()

    def end(self, updates: int) -> None:
        """End a request of `updates` updates; after a full request, adapt the number of updates."""
        if updates < self.updates:
            return
        self._wait()
        took = time.perf_counter() - self._began
        if took > self.seconds:
            self.updates = max(1, self.updates // 2)
        elif took < self.seconds / 2:
            self.updates *= 2
