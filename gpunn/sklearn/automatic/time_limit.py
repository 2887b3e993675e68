"""The time for training networks, and the callback that ends training when the time is over."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from gpunn.training.callbacks import Callback

REASON = "ended by the time limit"

clock = time.monotonic


class TimeLimit:
    def __init__(self, seconds: float | None) -> None:
        self._seconds = math.inf if seconds is None else float(seconds)
        self._began = clock()

    def use(self, seconds: float) -> None:
        self._began -= seconds

    @property
    def elapsed(self) -> float:
        return clock() - self._began

    @property
    def left(self) -> float:
        return self._seconds - self.elapsed


class TimeShare:
    """Divides the remaining time among the networks that several threads still have to train."""

    def __init__(self, seconds: float, networks: int, threads: int) -> None:
        self._end = clock() + seconds
        self._waiting, self._threads = networks, threads
        self._lock = threading.Lock()

    def begin(self) -> float:
        with self._lock:
            in_turn = math.ceil(self._waiting / self._threads)
            self._waiting = max(1, self._waiting - 1)
        now = clock()
        return now + (self._end - now) / in_turn


class Deadline(Callback):
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
