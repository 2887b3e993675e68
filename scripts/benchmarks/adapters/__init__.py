"""How an experienced user trains with each library; one file per library.

An adapter's module imports its library, so only that competitor's process imports it. An adapter
is a class without arguments and with one method::

    train(task, rows, seed, after_epoch)

This function trains a new network from `work.initial_weights(task, seed)` on NumPy arrays. After
each epoch, outside the timing, it calls `after_epoch`, and ends when that returns true.
"""

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from benchmarks.work import Rows, Task

Predict = Callable[[np.ndarray], np.ndarray]


class Epoch(NamedTuple):
    """The result of an epoch: seconds, logs by name, and a function from rows to class numbers.

    The seconds include shuffling, gathering batches, training, and reading loss and metrics, which
    are means over the batches.
    """

    seconds: float
    logs: Mapping[str, float]
    predict: Predict


AfterEpoch = Callable[[Epoch], bool]


class Adapter(Protocol):
    def train(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None: ...


def load(name: str) -> Adapter:
    module, _, cls = name.partition(".")
    adapter: Adapter = getattr(importlib.import_module(f"{__name__}.{module}"), cls)()
    return adapter


def logs_of(task: Task, means: Iterable[float]) -> Mapping[str, float]:
    return checked(dict(zip(("loss", *task.metrics), means, strict=True)))


def checked(logs: Mapping[str, float]) -> Mapping[str, float]:
    if not math.isfinite(logs["loss"]):
        raise ArithmeticError(f"the loss became {logs['loss']}")
    return logs
