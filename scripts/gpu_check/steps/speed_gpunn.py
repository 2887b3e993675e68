"""gpunn itself, as a user trains with it: Trainer.fit, with steps as CUDA graphs or without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import cupy
from outcome import SkipStepError
from steps import work
from steps.cells import Ask, Cell, Stretch

import gpunn
from gpunn.backends import get_backend
from gpunn.errors import BackendUnavailableError
from gpunn.training.callbacks import Callback
from gpunn.training.step import TrainStep

OPTIONS: dict[str, dict[str, Any]] = {
    "graph": {},
    "measured": {"matmul_algorithms": "measured"},
    "eager": {"graph": False},
}
FOREVER = 10**6


def start(mode: str) -> str:
    """Return the name of what is timed."""
    if mode == "measured":
        try:
            get_backend("cupy", **OPTIONS[mode])
        except BackendUnavailableError as reason:  # there is no cuBLASLt, as the doctor says, too
            raise SkipStepError(str(reason)) from None
    return f"gpunn {gpunn.__version__}, CuPy {cupy.__version__}"


def train(mode: str, cell: Cell, ask: Ask) -> None:
    """Train, all epochs in one call as a user would."""
    X, y = work.whole_batches(cell)
    backend = get_backend("cupy", matmul_precision=cell.precision, **OPTIONS[mode])
    model = work.relu_network(cell.sizes, backend)
    trainer = work.trainer(model, optimizer=cell.optimizer)
    with marked() as marks:
        trainer.fit(
            *(X, y),
            epochs=FOREVER,
            batch_size=cell.batch,
            callbacks=[Clock(ask, marks)],
            progress=False,
        )


class Marks:
    """CUDA events at the first and after the last update of an epoch."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def take(self) -> float:
        """Return the seconds between them, and begin with the next epoch."""
        first, last = self.events
        self.events = []
        last.synchronize()
        return float(cupy.cuda.get_elapsed_time(first, last)) / 1e3


@contextmanager
def marked() -> Iterator[Marks]:
    """Have every request for updates leave marks."""
    marks, update = Marks(), TrainStep.update

    def marking(step: TrainStep, rows: int, times: int = 1) -> None:
        if not marks.events:
            marks.events = [cupy.cuda.Event() for _ in range(2)]
            marks.events[0].record()
        update(step, rows, times)
        marks.events[1].record()

    with patch.object(TrainStep, "update", marking):
        yield marks


class Clock(Callback):
    """Takes the time of each stretch of epochs, and asks for the length of the next one."""

    def __init__(self, ask: Ask, marks: Marks) -> None:
        self.ask, self.marks = ask, marks

    def on_train_begin(self, trainer: gpunn.Trainer) -> None:
        self.begin(trainer, None)

    def begin(self, trainer: gpunn.Trainer, done: Stretch | None) -> None:
        """Begin a stretch."""
        self.left = self.ask(done)
        if not self.left:
            trainer.stop_reason = "timed"
        self.losses: list[float] = []
        self.on_device = 0.0
        self.began = time.perf_counter()

    def on_epoch_end(self, trainer: gpunn.Trainer, logs: Any) -> None:
        # Both figures have been read by now, so there is nothing left to wait for.
        seconds = time.perf_counter() - self.began
        self.on_device += self.marks.take()
        self.losses.append(logs["loss"])
        self.left -= 1
        if not self.left:
            held = cupy.get_default_memory_pool().total_bytes()  # it gives nothing back meanwhile

            def predict(X: Any) -> Any:
                return trainer.model.predict(X).argmax(1)

            self.begin(trainer, Stretch(seconds, self.on_device, self.losses, predict, held))
