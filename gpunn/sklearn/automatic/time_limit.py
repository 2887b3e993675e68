"""The time that networks have, and the callback that ends a network when its time is over."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from gpunn.training.callbacks import Callback

__all__ = ["REASON", "Deadline", "TimeLimit", "TimeShare"]

REASON = "ended by the time limit"
"""The reason for the end of a training in its history."""

clock = time.monotonic
"""The clock, in seconds."""


class TimeLimit:
    """The time since training began, and the time left, both in seconds; without a limit, inf."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = math.inf if seconds is None else float(seconds)
        self._began = clock()

    def use(self, seconds: float) -> None:
        """Add the time that an interrupted call has used."""
        self._began -= seconds

    @property
    def elapsed(self) -> float:
        """Seconds since training began."""
        return clock() - self._began

    @property
    def left(self) -> float:
        """Seconds until the limit; negative afterwards."""
        return self._seconds - self.elapsed


class TimeShare:
    """The time that networks share, some of which are trained at the same time.

    A network's time is the time left, divided by the number of networks that a thread still has to
    train one after another. So all networks are trained at the end of the time, and a network that
    ends earlier leaves its time to those that begin later.
    """

    def __init__(self, seconds: float, networks: int, threads: int) -> None:
        self._end = clock() + seconds
        self._waiting, self._threads = networks, threads
        self._lock = threading.Lock()

    def begin(self) -> float:
        """Return the time at which the network that begins now has to end."""
        with self._lock:
            in_turn = math.ceil(self._waiting / self._threads)
            self._waiting = max(1, self._waiting - 1)
        now = clock()
        return now + (self._end - now) / in_turn


class Deadline(Callback):
    """Ends training after the epoch in which the network's share of the time is over.

    Copies belong to other networks, which share the time.
    """

    extra_attributes = frozenset(("share",))
    reads_only: ClassVar[bool] = True

    def __init__(self, share: TimeShare) -> None:
        self.share = share
        self._end = math.inf

    def __deepcopy__(self, memo: Any) -> Deadline:
        return Deadline(self.share)

    def on_train_begin(self, trainer: Any) -> None:
        self._end = self.share.begin()

    def on_epoch_end(self, trainer: Any, logs: Mapping[str, float]) -> None:
        if clock() >= self._end:
            trainer.stop_reason = REASON
