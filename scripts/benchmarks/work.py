"""What is trained: networks, data, initial weights, and the products a step can't do without."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

GRID_SIZES = ((64, 32, 10), (784, 128, 10), (784, 512, 512, 10), (784, 2048, 2048, 10))
GRID_BATCHES = (32, 128, 1024)
GRID_RATES = {"sgd": 0.01, "adam": 0.001}

EPOCH_ROWS = 60_000
"""Rows of the longest epoch of the grid, as many as MNIST has."""


class Product(NamedTuple):
    """A matrix product (m, k) x (k, n) of a step.

    `kind` says which operands are transposed views: in "weight gradient" the first, in "input
    gradient" the second, in others none.
    """

    m: int
    n: int
    k: int
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.m}, {self.k}) x ({self.k}, {self.n})"


class Task(NamedTuple):
    """A network and how it is trained.

    Attributes
    ----------
    sizes : tuple of int
        Widths of all layers, inputs and outputs included.
    optimizer : {"sgd", "adam"}
        Plain gradient descent; Adam with 0.9, 0.999 and 1e-8.
    """

    sizes: tuple[int, ...]
    batch_size: int
    optimizer: str
    learning_rate: float

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.sizes))}, {self.batch_size} {self.optimizer}"

    def products(self) -> list[Product]:
        """Return the products of a step; the first layer needs no gradient of its input."""
        b = self.batch_size
        shapes = list(enumerate(pairwise(self.sizes)))
        found = [Product(b, n, k, "forward") for _, (k, n) in shapes]
        for layer, (k, n) in reversed(shapes):
            found.append(Product(k, n, b, "weight gradient"))
            if layer:
                found.append(Product(b, k, n, "input gradient"))
        return found

    def cut(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows in whole batches."""
        rows = len(X) // self.batch_size * self.batch_size
        return X[:rows], y[:rows]


MNIST_TASKS = {
    "1": Task((784, 512, 512, 10), 128, "adam", 0.001),
    "2": Task((784, 128, 10), 32, "sgd", 0.1),
}

TINY_TASK = Task((64, 32, 10), 32, "adam", 0.001)
TINY_STEPS = 45
"""The fit from a cold start: about the size of the digits that come with gpunn."""


def epoch_steps(task: Task, seconds: float) -> int:
    """Return the steps of an epoch of about so many seconds, at 100 GFLOP/s and 20 us a step."""
    step = sum(2 * p.m * p.n * p.k for p in task.products()) / 100e9 + 20e-6
    return max(8, min(int(seconds / step), EPOCH_ROWS // task.batch_size))


def synthetic(task: Task, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random float32 rows in [-0.5, 0.5) and int64 labels, of which each class has some."""
    generator = np.random.default_rng(0)
    rows, classes = steps * task.batch_size, task.sizes[-1]
    X = generator.random((rows, task.sizes[0]), dtype=np.float32)
    X -= np.float32(0.5)
    y = generator.integers(0, classes, rows)
    y[:classes] = np.arange(classes)
    return X, y


def initial_weights(sizes: Sequence[int], seed: int) -> list[np.ndarray]:
    """Return He-normal weights, (inputs, units) for each layer; biases begin at zero."""
    generator = np.random.default_rng(seed)
    return [
        generator.standard_normal((k, n), np.float32) * np.float32(np.sqrt(2 / k))
        for k, n in pairwise(sizes)
    ]


MNIST_ARRAYS = ("X", "y", "X_test", "y_test")


def kept_mnist(folder: str) -> list[np.ndarray]:
    """Return X, y, X_test, y_test as `mnist.prepared_mnist` wrote them."""
    return [np.load(Path(folder) / f"{name}.npy") for name in MNIST_ARRAYS]
