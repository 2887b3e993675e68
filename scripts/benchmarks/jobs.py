"""The jobs of a competitor's process."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl

from benchmarks import fma
from benchmarks.adapters import Adapter, Epoch, Predict
from benchmarks.machine import peak_bytes
from benchmarks.work import TINY_STEPS, TINY_TASK, Task, epoch_steps, kept_mnist, synthetic

Answer = dict[str, Any]

EPOCHS_A_TURN = 3
"""Approximate number of epochs in a turn of the grid, after the first."""

PREDICT_STEPS = 100
"""Number of training steps before predictions are timed."""


class Jobs:
    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    def ready(self) -> Answer:
        return {}

    def libraries(self) -> Answer:
        keys = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
        pools = threadpoolctl.threadpool_info()
        return {"libraries": [{key: each[key] for key in keys if key in each} for each in pools]}

    def reference(self) -> Answer:
        a, b, out = (np.ones((512, 512), np.float32) for _ in range(3))
        seconds = []
        for _ in range(16):
            began = time.perf_counter()
            np.matmul(a, b, out=out)
            seconds.append(time.perf_counter() - began)
        return {"gflops": 2 * 512**3 / statistics.median(seconds[4:]) / 1e9}

    def fma_peak(self, threads: int, dtype: str) -> Answer:
        return {"gflops": fma.peak(threads, dtype)}

    def synthetic(self, task: Task, seconds: float) -> Answer:
        steps = epoch_steps(task, seconds / EPOCHS_A_TURN)
        taken: list[float] = []

        def after_epoch(epoch: Epoch) -> bool:
            taken.append(epoch.seconds)
            return len(taken) > 1 and sum(taken[1:]) >= seconds

        self.adapter.train(task, synthetic(task, steps), 0, after_epoch)
        return {"seconds": taken, "steps": steps}

    def tiny(self) -> Answer:
        rows = synthetic(TINY_TASK, TINY_STEPS)
        self.adapter.train(TINY_TASK, rows, 0, lambda epoch: True)
        return {}

    def mnist(self, task: Task, folder: str, seed: int, epochs: int) -> Answer:
        X, y, X_test, y_test = kept_mnist(folder)
        taken: list[float] = []
        answer: Answer = {"seconds": taken}

        def after_epoch(epoch: Epoch) -> bool:
            taken.append(epoch.seconds)
            if len(taken) < epochs:
                return False
            answer["accuracy"] = float((epoch.predict(X_test) == y_test).mean())
            return True

        self.adapter.train(task, task.cut(X, y), seed, after_epoch)
        return answer

    def predict(self, task: Task, folder: str) -> Answer:
        X, y, X_test, _ = kept_mnist(folder)
        count = PREDICT_STEPS * task.batch_size
        answer: Answer = {}

        def after_epoch(epoch: Epoch) -> bool:
            answer["one"] = single_latency(epoch.predict, X_test, 0.5)
            answer["all"] = best_seconds(lambda: epoch.predict(X_test), 0.5)
            return True

        self.adapter.train(task, task.cut(X[:count], y[:count]), 0, after_epoch)
        return answer

    def peak_memory(self, folder: str, task: Task | None) -> Answer:
        if task is None:
            held = kept_mnist(folder)
            return {"bytes": peak_bytes(), "held": sum(array.nbytes for array in held)}
        self.mnist(task, folder, 0, 1)
        return {"bytes": peak_bytes()}


def single_latency(predict: Predict, X: np.ndarray, seconds: float) -> float:
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
    """Return the minimum seconds of a call, timed in runs that are long enough for the clock."""
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
