"""How each library is driven, as those who know it would: one file a library.

An adapter's module imports its library, so it is imported only in that competitor's process. It is
a class without arguments, with one method::

    train(task, rows, seed, after_epoch)

that trains a fresh network from `work.initial_weights(task, seed)` on NumPy arrays. After each
epoch, outside the timing, it calls `after_epoch`, and ends when that answers true.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from benchmarks.work import Rows, Task

Predict = Callable[[np.ndarray], np.ndarray]


class Epoch(NamedTuple):
    """What an epoch came to: seconds, logs by name, and the function from rows to class numbers.

    The seconds are those of shuffling, gathering batches, training, and reading loss and metrics,
    which are means over the batches.
    """

    seconds: float
    logs: Mapping[str, float]
    predict: Predict


AfterEpoch = Callable[[Epoch], bool]


class Adapter(Protocol):
    """What the rest of the benchmark knows of a library."""

    def train(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None: ...


def load(name: str) -> Adapter:
    """Import the adapter "module.Class", and its library with it."""
    module, _, cls = name.partition(".")
    adapter: Adapter = getattr(importlib.import_module(f"{__name__}.{module}"), cls)()
    return adapter


def logs_of(task: Task, means: Iterable[float]) -> Mapping[str, float]:
    """Return an epoch's logs, from the means over its batches of what the logs are made of."""
    logs = dict(zip(("loss", *task.metrics), means, strict=True))
    if "root_mean_squared_error" in logs:
        logs["root_mean_squared_error"] **= 0.5
    return checked(logs)


def checked(logs: Mapping[str, float]) -> Mapping[str, float]:
    """Return the logs of an epoch; a loss that is not finite makes its time worthless."""
    if not math.isfinite(logs["loss"]):
        raise ArithmeticError(f"the loss became {logs['loss']}")
    return logs
