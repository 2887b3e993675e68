"""gpunn as users train with it: Trainer.fit, with or without CUDA graphs."""

import time
from collections.abc import Callable
from typing import Any

import cupy
import training
from cell import Cell
from libraries import Ask, Stretch
from process import SkipError

import gpunn
from gpunn.backends import get_backend
from gpunn.callbacks import Callback
from gpunn.errors import BackendUnavailableError

OPTIONS: dict[str, dict[str, Any]] = {
    "graph": {},
    "measured": {"matmul_algorithms": "measured"},
    "eager": {"graph": False},
}


def start(mode: str) -> str:
    try:
        get_backend("cupy", **OPTIONS[mode])
    except BackendUnavailableError as reason:
        if mode != "measured":
            raise
        raise SkipError(str(reason)) from None  # without cuBLASLt, which the doctor also reports
    return f"gpunn {gpunn.__version__}, CuPy {cupy.__version__}"


def train(mode: str, cell: Cell, ask: Ask) -> None:
    backend = get_backend("cupy", matmul_precision=cell.precision, **OPTIONS[mode])
    clock = Clock(ask)
    recorded = backend.recorded

    def marked(*arguments: Any, **options: Any) -> Callable[[int], None]:
        return clock.marked(recorded(*arguments, **options))

    backend.recorded = marked  # type: ignore[method-assign]
    task = training.network(cell)
    task.trainer(backend).fit(
        *(task.X, task.y),
        epochs=10**6,
        batch_size=cell.batch,
        callbacks=[clock],
        progress=False,
    )


class Clock(Callback):
    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.marks: list[Any] = []

    def marked(self, updates: Callable[[int], None]) -> Callable[[int], None]:
        """Return `updates` with CUDA events before an epoch's first and after its last update."""

        def update(times: int) -> None:
            if not self.marks:
                self.marks = [cupy.cuda.Event() for _ in range(2)]
                self.marks[0].record()
            updates(times)
            self.marks[1].record()

        return update

    def on_train_begin(self, trainer: gpunn.Trainer) -> None:
        self.begin(trainer, None)

    def begin(self, trainer: gpunn.Trainer, done: Stretch | None) -> None:
        self.left = self.ask(done)
        if not self.left:
            trainer.stop_reason = "timed"
        self.losses: list[float] = []
        self.device_seconds = 0.0
        self.began = time.perf_counter()

    def on_epoch_end(self, trainer: gpunn.Trainer, logs: Any) -> None:
        # Loss and metrics have been read by now, so the device has finished.
        seconds = time.perf_counter() - self.began
        self.marks[1].synchronize()
        self.device_seconds += cupy.cuda.get_elapsed_time(*self.marks) / 1e3
        self.marks = []
        self.losses.append(float(logs["loss"]))
        self.left -= 1
        if not self.left:

            def predict(X: Any) -> Any:
                return trainer.model.predict(X).argmax(1)

            self.begin(trainer, Stretch(seconds, self.device_seconds, self.losses, predict))
