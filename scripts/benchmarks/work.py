"""Networks, data, initial weights, and the matrix products of a step."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ENDLESS = 10**9
"""Number of epochs; the clock ends training."""

GRID_SIZES = ((64, 32, 10), (784, 128, 10), (784, 512, 512, 10), (784, 2048, 2048, 10))
GRID_BATCHES = (32, 128, 1024)
GRID_RATES = {"sgd": 0.01, "adam": 0.001}

EPOCH_ROWS = 60_000
"""Rows of the longest epoch of the grid, as many as MNIST has."""


class Task(NamedTuple):
    """A network and how it is trained; names mean the same as in gpunn's configurations.

    A hidden layer is dense, then normalized, activated and dropped out. RMSprop has 0.9 and 1e-8;
    Adam 0.9, 0.999 and 1e-8. SGD's momentum, if any, is Nesterov's. Normalization has an epsilon
    of 1e-5, and running averages keep 0.9 of the old value per step. "half_squared_error" is half
    of "mean_squared_error". `weight_decay` is decoupled, `l2_penalty` part of the gradient; both
    apply to weights only. The schedule "cosine" rises linearly over `warm_up`, then falls from
    `learning_rate` to 0 over the planned `epochs`. Only the first epochs are timed.
    """

    sizes: tuple[int, ...]
    batch_size: int
    optimizer: str
    learning_rate: float
    name: str = ""
    activation: str = "relu"
    normalization: str = ""
    dropout: float = 0.0
    loss: str = "softmax_cross_entropy"
    label_smoothing: float = 0.0
    metrics: tuple[str, ...] = ()
    weighted: bool = False
    momentum: float = 0.0
    max_norm: float | None = None
    weight_decay: float = 0.0
    l2_penalty: float = 0.0
    schedule: str = "constant"
    warm_up: float = 0.0
    epochs: int = ENDLESS
    dtype: str = "float32"

    def __str__(self) -> str:
        own = f"{'-'.join(map(str, self.sizes))}, {self.batch_size} {self.optimizer}"
        return self.name or own

    def rate(self, time: Any, xp: Any = np) -> Any:
        """Return the learning rate at a time in epochs, an array of `xp`.

        An update u, counted from 0, has the rate at its middle: (u + 1/2) / updates_per_epoch.
        """
        if self.schedule == "constant":
            return self.learning_rate + 0 * time
        rise = xp.minimum(time / self.warm_up, 1) if self.warm_up else 1
        progress = xp.maximum(time - self.warm_up, 0) / (self.epochs - self.warm_up)
        return self.learning_rate * rise * (1 + xp.cos(math.pi * progress)) / 2

    def products(self) -> list[tuple[int, int, int]]:
        """Return (m, n, k) of each product (m, k) x (k, n) of a step.

        The forward products come first. The first layer needs no gradient of its input.
        """
        b = self.batch_size
        shapes = list(enumerate(pairwise(self.sizes)))
        products = [(b, n, k) for _, (k, n) in shapes]
        for layer, (k, n) in reversed(shapes):
            products.append((k, n, b))  # gradient of the weights
            if layer:
                products.append((b, k, n))  # gradient of the input
        return products

    def flops(self) -> int:
        return sum(2 * m * n * k for m, n, k in self.products())

    def cut(self, X: np.ndarray, y: np.ndarray) -> Rows:
        rows = len(X) // self.batch_size * self.batch_size
        return Rows(X[:rows], y[:rows])


class Rows(NamedTuple):
    """Rows to train on: X (rows, inputs), and y, labels (rows,) or targets (rows, outputs).

    `weights` (rows,), or None, are the sample weights for the loss and the metrics.
    """

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None = None


MNIST_TASKS = {
    "1": Task((784, 512, 512, 10), 128, "adam", 0.001),
    "2": Task((784, 128, 10), 32, "sgd", 0.1),
}

TINY_TASK = Task((64, 32, 10), 32, "adam", 0.001)
TINY_STEPS = 45
"""The fit from a cold start: about the size of the bundled digits."""


def epoch_steps(task: Task, seconds: float) -> int:
    """Return the steps of an epoch of about so many seconds, at 100 GFLOP/s and 20 us per step."""
    step = task.flops() / 100e9 + 20e-6
    return max(8, min(int(seconds / step), EPOCH_ROWS // task.batch_size))


def synthetic(task: Task, steps: int) -> Rows:
    generator = np.random.default_rng(0)
    rows, outputs = steps * task.batch_size, task.sizes[-1]
    X = generator.random((rows, task.sizes[0]), dtype=task.dtype)
    X -= X.dtype.type(0.5)
    if task.loss == "softmax_cross_entropy":
        y = generator.integers(0, outputs, rows)
        y[:outputs] = np.arange(outputs)
    elif task.loss == "binary_cross_entropy":
        y = (generator.random((rows, outputs)) < 0.3).astype(task.dtype)
    else:
        y = generator.standard_normal((rows, outputs), dtype=task.dtype)
    weights = generator.random(rows, dtype=task.dtype) + X.dtype.type(0.5)
    return Rows(X, y, weights if task.weighted else None)


def initial_weights(task: Task, seed: int) -> list[np.ndarray]:
    """Return He-normal weights, (inputs, units) for each layer; biases begin at zero."""
    generator = np.random.default_rng(seed)
    return [
        generator.standard_normal((k, n), task.dtype) * np.dtype(task.dtype).type(np.sqrt(2 / k))
        for k, n in pairwise(task.sizes)
    ]


MNIST_ARRAYS = ("X", "y", "X_test", "y_test")


def kept_mnist(folder: str) -> list[np.ndarray]:
    return [np.load(Path(folder) / f"{name}.npy") for name in MNIST_ARRAYS]
