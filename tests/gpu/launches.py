"""Request many updates at a time, independent of the clock, and count updates in each launch."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import training_steps

import gpunn
from gpunn.backends.cupy import capture
from gpunn.data import batches
from gpunn.training import epoch
from gpunn.training.step.train_step import TrainStep

__all__ = ["Unhurried", "launches_of_graphs", "step_of", "unhurried"]


def step_of(trainer: gpunn.Trainer, X: np.ndarray, y: np.ndarray, batch_size: int = 8) -> TrainStep:
    """Return a trainer's step on resident rows, ready for an epoch of updates."""
    step = training_steps.step_of(trainer, batch_size)
    source = batches.Dataset(trainer.model.backend, X, y, None, ("float32", "float32"))
    (chunk,) = source.chunks(None, batch_size)
    step.load(chunk)
    step.load_settings(np.full((len(X) // batch_size, 1), 1e-3))
    return step


class Unhurried:
    """A pace that requests all updates until the next logging step in one call, without waiting."""

    updates = 10**6

    def __init__(self, wait: Callable[[], None]) -> None:
        pass

    def begin(self) -> None:
        pass

    def end(self, updates: int) -> None:
        pass


@contextmanager
def unhurried(in_a_row: int = capture.UNROLLED) -> Iterator[None]:
    """Launch this many updates in one graph, from the second such request on."""
    with (
        patch.object(epoch, "UpdatesPerRequest", Unhurried),
        patch.object(capture, "UNROLLED", in_a_row),
        patch.object(capture, "UNROLL_AFTER", 2),
    ):
        yield


@contextmanager
def launches_of_graphs() -> Iterator[Counter[int]]:
    """Count launches of graphs, by the number of updates in them."""
    captured, count = capture.GraphExecutor._captured, Counter[int]()

    class Counting:
        def __init__(self, launched: Any, times: int) -> None:
            self.launched, self.times = launched, times

        def launch(self) -> None:
            self.launched.launch()
            count[self.times] += 1

    def counting(recording: capture.GraphExecutor, times: int) -> Counting:
        return Counting(captured(recording, times), times)

    with patch.object(capture.GraphExecutor, "_captured", counting):
        yield count
