"""What is trained: networks, data, initial weights, and the products a step can't do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

GRID_SIZES = ((64, 32, 10), (784, 128, 10), (784, 512, 512, 10), (784, 2048, 2048, 10))
GRID_BATCHES = (32, 128, 1024)
GRID_RATES = {"sgd": 0.01, "adam": 0.001}
SMALL_NETS = GRID_SIZES[:2]
"""Where overhead decides, rather than the products; they get a geometric mean of their own."""

EPOCH_ROWS = 60_000
"""Rows of the longest epoch of the grid, as many as MNIST has."""


class Product(NamedTuple):
    """A matrix product (m, k) x (k, n) of a step.

    `kind` says which operands are transposed views: in "forward" none, in "weight gradient" the
    first, in "input gradient" the second.
    """

    m: int
    n: int
    k: int
    kind: str

    @property
    def operations(self) -> int:
        """Floating-point operations."""
        return 2 * self.m * self.n * self.k


@dataclass(frozen=True)
class Task:
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

    @property
    def net(self) -> str:
        """The network's name."""
        return "-".join(map(str, self.sizes))

    def __str__(self) -> str:
        return f"{self.net}, {self.batch_size} {self.optimizer}"

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


MNIST_TASKS = (
    Task((784, 512, 512, 10), 128, "adam", 0.001),
    Task((784, 128, 10), 32, "sgd", 0.1),
)

TINY_TASK = Task((64, 32, 10), 32, "adam", 0.001)
TINY_ROWS = 1440
"""The fit from a cold start: about the size of the digits that come with gpunn."""


def grid_task(sizes: tuple[int, ...], batch_size: int, optimizer: str) -> Task:
    """Return the task of a cell of the grid."""
    return Task(sizes, batch_size, optimizer, GRID_RATES[optimizer])


def epoch_steps(task: Task, seconds: float) -> int:
    """Return the steps of an epoch of about so many seconds, at 100 GFLOP/s and 20 us a step."""
    step = sum(product.operations for product in task.products()) / 100e9 + 20e-6
    return max(8, min(int(seconds / step), EPOCH_ROWS // task.batch_size))


def synthetic(features: int, classes: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random float32 rows in [-0.5, 0.5) and int64 labels, of which each class has some."""
    generator = np.random.default_rng(0)
    X = generator.random((rows, features), dtype=np.float32)
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


def keep_mnist(source: Path, folder: Path) -> None:
    """Write MNIST as float32 rows in [0, 1] and int64 labels, for processes that lack gpunn."""
    import gpunn

    for name, array in zip(MNIST_ARRAYS, gpunn.data.load_mnist(source), strict=True):
        held = array if array.ndim == 1 else array.astype(np.float32) / np.float32(255)
        np.save(folder / f"{name}.npy", held)


def kept_mnist(folder: str) -> list[np.ndarray]:
    """Return X, y, X_test, y_test as `keep_mnist` wrote them."""
    return [np.load(Path(folder) / f"{name}.npy") for name in MNIST_ARRAYS]
