"""How each library is driven, as those who know it would: one file a library.

An adapter's module imports its library, so it is imported only in that competitor's process. It is
a class without arguments, with one method::

    train(task, X, y, seed, after_epoch)

that trains a fresh network from `work.initial_weights(task.sizes, seed)` on float32 rows X and
int64 labels y. After each epoch, outside the timing, it calls `after_epoch(seconds, predict)`, and
ends when that answers true. The seconds are those of shuffling, gathering batches, training, and
reading the epoch's loss. `predict(rows)` takes rows and returns class numbers, as NumPy arrays.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from benchmarks.work import Task

Predict = Callable[[np.ndarray], np.ndarray]
AfterEpoch = Callable[[float, Predict], bool]


class Adapter(Protocol):
    """What the rest of the benchmark knows of a library."""

    def train(
        self, task: Task, X: np.ndarray, y: np.ndarray, seed: int, after_epoch: AfterEpoch
    ) -> None: ...


def load(name: str) -> Adapter:
    """Import the adapter "module.Class", and its library with it."""
    module, _, cls = name.partition(".")
    adapter: Adapter = getattr(importlib.import_module(f"{__name__}.{module}"), cls)()
    return adapter


def checked(loss: float) -> float:
    """Return the loss of an epoch; one that is not finite makes its time worthless."""
    if not math.isfinite(loss):
        raise ArithmeticError(f"the loss became {loss}")
    return loss
