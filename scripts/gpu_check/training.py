"""The training runs of all libraries: data, networks, initial weights and order of rows."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import device
import numpy as np

import gpunn
from gpunn.backends import Backend
from gpunn.randomness import permutation

SEED = 0
RATES = {"adam": 1e-3, "sgd": 0.02}
FEATURES, CLASSES = 784, 10
ROWS = 160 if device.REHEARSAL else 60_000
"""The number of MNIST's training rows."""


class Cell(NamedTuple):
    """A training to time: widths of all layers, and the precision of products."""

    sizes: tuple[int, ...]
    batch: int
    optimizer: str
    precision: str

    @property
    def name(self) -> str:
        """The name in tables."""
        network = "-".join(map(str, self.sizes))
        return f"{network}, batch {self.batch}, {self.optimizer}, {self.precision}"


class Data(NamedTuple):
    """A classification to learn: float32 rows in [0, 1], and int64 labels."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def digits() -> Data:
    """Return the bundled digits, or some of them in a rehearsal."""
    arrays = gpunn.data.load_digits()
    return scaled("digits", [each[:512] for each in arrays] if device.REHEARSAL else arrays, 16)


@functools.cache
def mnist() -> Data | None:
    """Return MNIST from GPUNN_DATA or its subfolder mnist; None without it or in a rehearsal."""
    root = os.environ.get("GPUNN_DATA")
    if not root or device.REHEARSAL:
        return None
    for folder in (Path(root), Path(root) / "mnist"):
        if any(folder.glob("train-images-idx3-ubyte*")):
            return scaled("MNIST", gpunn.data.load_mnist(folder), 255)
    return None


def scaled(name: str, arrays: Sequence[np.ndarray], top: int) -> Data:
    """Return data with pixels scaled from [0, top] to [0, 1]."""
    X, y, X_test, y_test = arrays
    return Data(name, (X / top).astype(np.float32), y, (X_test / top).astype(np.float32), y_test)


@functools.cache
def mnist_or_synthetic() -> Data:
    """Return MNIST, or as many rows of noise with a weak pattern for each class."""
    real = mnist()
    if real is not None:
        return real
    generator = np.random.default_rng(SEED)
    patterns = generator.random((CLASSES, FEATURES), np.float32)
    y = generator.integers(CLASSES, size=ROWS + ROWS // 6)
    X = generator.random((len(y), FEATURES), np.float32)
    X += np.float32(0.15) * (patterns[y] - X)
    return Data("synthetic", X[:ROWS], y[:ROWS], X[ROWS:], y[ROWS:])


@functools.cache
def with_features(features: int) -> Data:
    """Return `mnist_or_synthetic` with only `features` of its columns."""
    data = mnist_or_synthetic()
    columns = np.linspace(0, FEATURES - 1, features).astype(int)  # the first pixels are always 0
    return data._replace(X=data.X[:, columns], X_test=data.X_test[:, columns])


def whole_batches(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and labels that a cell trains on."""
    data = with_features(cell.sizes[0])
    rows = len(data.X) // cell.batch * cell.batch
    return data.X[:rows], data.y[:rows]


def trainer(
    sizes: Sequence[int],
    backend: str | Backend,
    optimizer: str = "adam",
    metrics: tuple[str, ...] = (),
    communicator: Any = None,
) -> gpunn.Trainer:
    """Return the trainer of a ReLU network with He's initial weights."""
    start = {"initializer": "he", "bias_initializer": "zeros"}
    inputs, *hidden, outputs = sizes
    layers = [gpunn.layers.Dense(units, activation="relu", **start) for units in hidden]
    layers.append(gpunn.layers.Dense(outputs, **start))
    model = gpunn.Sequential(layers, inputs, backend, seed=SEED)
    kinds: dict[str, Any] = {"adam": gpunn.optimizers.Adam, "sgd": gpunn.optimizers.SGD}
    rule = kinds[optimizer](RATES[optimizer])
    return gpunn.Trainer(model, "softmax_cross_entropy", rule, metrics, communicator=communicator)


def initial_parameters(sizes: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the initial weights of `trainer`, (inputs, units) each, and the biases."""
    arrays = list(trainer(sizes, "numpy").model.parameters.to_host().values())
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def order(epoch: int, rows: int) -> np.ndarray:
    """Return the order of an epoch's rows in gpunn's trainer."""
    return permutation(SEED, epoch, rows)


def distance(expected: Sequence[float], actual: Sequence[float], relative: bool = True) -> float:
    """Return the maximum difference of two logs of epochs, or NaN if a difference is NaN."""
    pairs = zip(expected, actual, strict=True)
    return largest([abs(a - b) / (abs(a) if relative else 1) for a, b in pairs])


def largest(distances: Sequence[float]) -> float:
    """Return the maximum, or NaN if a value is NaN."""
    return math.nan if any(map(math.isnan, distances)) else max(distances)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a plain-text table."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
