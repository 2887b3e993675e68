"""How many updates to ask for at a time."""

from __future__ import annotations

import time

__all__ = ["Pace"]


class Pace:
    """Few enough that the host looks up often, many enough that asking costs nothing.

    The host shows progress and notices Ctrl-C only between two requests. The number of updates in
    a request doubles as long as it takes less than half of `seconds`, and halves beyond `seconds`.

    Parameters
    ----------
    seconds : float
        How long a request may take.

    Attributes
    ----------
    updates : int
        Updates to ask for next.
    """

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds = seconds
        self.updates = 1
        self._began = 0.0

    def begin(self) -> None:
        """Note that a request begins."""
        self._began = time.perf_counter()

    def end(self, updates: int) -> None:
        """Note that a request for so many updates has ended."""
        took = time.perf_counter() - self._began
        if took > self.seconds:
            self.updates = max(1, self.updates // 2)
        elif took < self.seconds / 2 and updates == self.updates:
            self.updates *= 2
