"""The lower bound: only a step's matrix products, called from Python."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.adapters import AfterEpoch, Epoch
from benchmarks.work import Rows, Task, initial_weights

Call = Callable[[], object]


class NumpyProducts:
    def call(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Call:
        return partial(np.matmul, a, b, out=out)

    def train(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None:
        calls = self.step(task)
        steps = len(rows.X) // task.batch_size
        while True:
            began = time.perf_counter()
            for _ in range(steps):
                for call in calls:
                    call()
            if after_epoch(Epoch(time.perf_counter() - began, {}, no_classes)):
                return

    def step(self, task: Task) -> list[Call]:
        """Return the calls of `task.products()`, on arrays shared as in a step."""
        generator = np.random.default_rng(0)
        weights = initial_weights(task, 0)
        shapes = [(task.batch_size, width) for width in task.sizes]
        outputs = [generator.random(shape, task.dtype) for shape in shapes]
        gradients = [generator.random(shape, task.dtype) for shape in shapes]
        layers = list(enumerate(weights))
        calls = [self.call(outputs[i], W, outputs[i + 1]) for i, W in layers]
        for i, W in reversed(layers):
            calls.append(self.call(outputs[i].T, gradients[i + 1], np.empty_like(W)))
            if i:
                calls.append(self.call(gradients[i + 1], W.T, gradients[i]))
        return calls


def no_classes(rows: np.ndarray) -> np.ndarray:
    raise TypeError("products alone predict nothing")
