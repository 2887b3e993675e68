"""gpunn itself, as a user trains with it: Trainer.fit, with steps as CUDA graphs or without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import cupy
from outcome import Outcome
from steps import speed, work

import gpunn
from gpunn.backends import get_backend
from gpunn.training.callbacks import Callback


def run(mode: str) -> Outcome:
    """Time gpunn; `mode` is "graph" or "eager"."""
    memory = Memory()

    def train(data: work.Work, batch: int) -> Iterator[speed.Epoch]:
        return epochs(data, batch, mode == "graph", memory)

    return speed.measure(train, memory.peak, library=f"gpunn {gpunn.__version__}")


class Memory:
    """Memory that this process took from the device, its kernels' code included.

    It is the change in what is free on the device, so another process's would count too.
    """

    def __init__(self) -> None:
        cupy.zeros(1)  # so that CUDA itself has taken what it needs
        self._before = cupy.cuda.runtime.memGetInfo()[0]
        self._peak = 0

    def look(self) -> None:
        """Take note of what is taken now; CuPy's pools give nothing back while training."""
        self._peak = max(self._peak, self._before - cupy.cuda.runtime.memGetInfo()[0])

    def peak(self) -> int:
        """Return the most bytes seen."""
        return int(self._peak)


def epochs(data: work.Work, batch: int, graph: bool, memory: Memory) -> Iterator[speed.Epoch]:
    """Train, all epochs in one call as a user would, and yield what the clock saw of each."""
    X, y = data.cut(batch)
    model = work.network(data, get_backend("cupy", graph=graph))
    clock = Clock(data, memory)
    work.trainer(model).fit(
        X, y, epochs=speed.EPOCHS[batch], batch_size=batch, callbacks=[clock], progress=False
    )
    yield from clock.epochs


class Clock(Callback):
    """Takes the time between one epoch's end and the next, less what it needs itself."""

    def __init__(self, data: work.Work, memory: Memory) -> None:
        self.data, self.memory = data, memory
        self.epochs: list[speed.Epoch] = []

    def on_train_begin(self, trainer: gpunn.Trainer) -> None:
        self.start()

    def start(self) -> None:
        """Begin an epoch."""
        self.mark = cupy.cuda.Event()
        self.mark.record()
        self.began = time.perf_counter()

    def on_epoch_end(self, trainer: gpunn.Trainer, logs: Any) -> None:
        seconds = time.perf_counter() - self.began  # the loss has been read by now
        end = cupy.cuda.Event()
        end.record()
        end.synchronize()
        self.memory.look()
        on_device = cupy.cuda.get_elapsed_time(self.mark, end) / 1e3
        predicted = trainer.model.predict(self.data.X_test).argmax(1)
        accuracy = float((predicted == self.data.y_test).mean())
        self.epochs.append(speed.Epoch(seconds, on_device, float(logs["loss"]), accuracy))
        self.start()
