"""What a competitor's process can be asked to do. Questions and answers are of JSON types."""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adapters import Adapter, Predict
from benchmarks.work import (
    TINY_ROWS,
    TINY_TASK,
    Product,
    Task,
    epoch_steps,
    kept_mnist,
    synthetic,
)

Answer = dict[str, Any]

EPOCHS_A_TURN = 3
"""About so many epochs after the first fit into a turn of the grid."""

PREDICT_STEPS = 100
"""Training steps before predictions are timed."""


class Jobs:
    """The jobs, for one adapter.

    Parameters
    ----------
    import_seconds : float
        What importing the adapter and its library took.
    """

    def __init__(self, adapter: Adapter, import_seconds: float) -> None:
        self.adapter = adapter
        self.import_seconds = import_seconds
        self.reference_arrays = [np.ones((512, 512), np.float32) for _ in range(3)]

    def ready(self) -> Answer:
        """Say that the process has started."""
        return {"import_seconds": self.import_seconds}

    def libraries(self) -> Answer:
        """Name the BLAS and threading libraries of this process, if threadpoolctl is there."""
        try:
            import threadpoolctl
        except ImportError:
            return {"libraries": []}
        keys = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
        found = threadpoolctl.threadpool_info()
        return {"libraries": [{key: each[key] for key in keys if key in each} for each in found]}

    def reference(self) -> Answer:
        """Time the reference product."""
        a, b, out = self.reference_arrays
        seconds = []
        for _ in range(16):
            began = time.perf_counter()
            np.matmul(a, b, out=out)
            seconds.append(time.perf_counter() - began)
        return {"gflops": 2 * 512**3 / statistics.median(seconds[4:]) / 1e9}

    def grid(self, task: Answer, seconds: float) -> Answer:
        """Train a fresh network for about so many seconds after its first epoch."""
        work = task_of(task)
        steps = epoch_steps(work, seconds / EPOCHS_A_TURN)
        X, y = synthetic(work.sizes[0], work.sizes[-1], steps * work.batch_size)
        taken: list[float] = []

        def after_epoch(epoch_seconds: float, predict: Predict) -> bool:
            taken.append(epoch_seconds)
            return len(taken) > 1 and sum(taken[1:]) >= seconds

        self.adapter.train(work, X, y, 0, after_epoch)
        return {"seconds": taken, "steps": steps}

    def mnist(
        self, task: Answer, folder: str, seed: int, epochs: int, target: float | None = None
    ) -> Answer:
        """Train on MNIST for a number of epochs, or until the target is reached.

        The answer has each epoch's seconds; the accuracies on the test rows, only the last one
        without a target; and the seconds of everything from importing the library on, but for
        reading the data and taking accuracies.
        """
        work = task_of(task)
        X, y, X_test, y_test = kept_mnist(folder)
        taken: list[float] = []
        accuracies: list[float] = []
        aside = 0.0

        def after_epoch(epoch_seconds: float, predict: Predict) -> bool:
            nonlocal aside
            began = time.perf_counter()
            taken.append(epoch_seconds)
            if target is not None or len(taken) == epochs:
                accuracies.append(float((predict(X_test) == y_test).mean()))
            aside += time.perf_counter() - began
            return len(taken) == epochs or (target is not None and accuracies[-1] >= target)

        rows = work.cut(X, y)
        began = time.perf_counter()
        self.adapter.train(work, *rows, seed, after_epoch)
        cold = self.import_seconds + time.perf_counter() - began - aside
        return {"seconds": taken, "accuracies": accuracies, "cold": cold}

    def predict(self, task: Answer, folder: str) -> Answer:
        """Time predictions of one sample and of all test rows, after a little training."""
        work = task_of(task)
        X, y, X_test, _ = kept_mnist(folder)
        rows = PREDICT_STEPS * work.batch_size
        answer: Answer = {}

        def after_epoch(epoch_seconds: float, predict: Predict) -> bool:
            answer["single"] = single_latency(predict, X_test, 0.5)
            answer["all"] = best_seconds(lambda: predict(X_test), 0.5)
            answer["rows"] = len(X_test)
            return True

        self.adapter.train(work, X[:rows], y[:rows], 0, after_epoch)
        return answer

    def product(self, product: list[Any], seconds: float) -> Answer:
        """Time one product; only adapters of products can."""
        return {"seconds": best_seconds(self.adapter.product(Product(*product)), seconds)}  # type: ignore[attr-defined]

    def mish_backward(self, mean: float, seconds: float) -> Answer:
        """Time a backward pass through Mish; only gpunn's adapter can."""
        return {"seconds": [best_seconds(self.adapter.mish_backward(mean), seconds)]}  # type: ignore[attr-defined]

    def peak_memory(self, folder: str, task: Answer | None) -> Answer:
        """Train one epoch of MNIST, or only hold the data, and answer the most memory held."""
        if task is None:
            held = kept_mnist(folder)
            return {"bytes": peak_bytes(), "rows": len(held[0])}
        answer = self.mnist(task, folder, 0, 1)
        return {"bytes": peak_bytes(), "rows": len(answer["seconds"])}

    def tiny(self) -> Answer:
        """Fit a tiny network for one epoch."""
        X, y = synthetic(TINY_TASK.sizes[0], TINY_TASK.sizes[-1], TINY_ROWS)
        taken: list[float] = []

        def after_epoch(epoch_seconds: float, predict: Predict) -> bool:
            taken.append(epoch_seconds)
            return True

        self.adapter.train(TINY_TASK, X, y, 0, after_epoch)
        return {"seconds": taken}


def task_of(answer: Answer) -> Task:
    """Return the task that JSON made lists of."""
    return Task(**{**answer, "sizes": tuple(answer["sizes"])})


def single_latency(predict: Predict, X: np.ndarray, seconds: float) -> float:
    """Return the median seconds of predicting one row."""
    for row in range(20):
        predict(X[row : row + 1])
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        row = len(taken) % len(X)
        sample = X[row : row + 1]
        began = time.perf_counter()
        predict(sample)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def best_seconds(call: Callable[[], object], seconds: float) -> float:
    """Return the least seconds of a call, timed in runs that are long enough for the clock."""
    call()
    began = time.perf_counter()
    call()
    count = max(1, round(0.005 / max(time.perf_counter() - began, 1e-7)))
    best, end = math.inf, time.perf_counter() + seconds
    while math.isinf(best) or time.perf_counter() < end:
        began = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - began) / count)
    return best


def peak_bytes() -> int:
    """Return the most memory that this process has held.

    Linux's `ru_maxrss` counts what the process that started this one held, so its own status is
    read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        peak = next((line for line in lines if line.startswith("VmHWM:")), None)
        if peak is not None:
            return int(peak.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
