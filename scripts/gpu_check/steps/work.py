"""The training that steps share: data, network, and how it is trained."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import device
import numpy as np
from steps.cells import Cell

import gpunn
from gpunn.backends import Backend
from gpunn.randomness import permutation

SEED = 0
RATES = {"adam": 1e-3, "sgd": 0.02}
ROWS, FEATURES, CLASSES = 60_000, 784, 10
"""What MNIST has."""
PATTERN = 0.15
"""How much of a synthetic row is not noise."""

if device.REHEARSAL:
    ROWS = 160


@dataclass(frozen=True)
class Work:
    """A classification to learn, all of it in memory.

    Attributes
    ----------
    name : str
        The data set's.
    X, y, X_test, y_test : ndarray
        float32 rows in [0, 1], and int64 labels.
    hidden : tuple of int
        Widths of the hidden layers.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    hidden: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of all layers, inputs and outputs included."""
        return (self.X.shape[1], *self.hidden, CLASSES)


def load() -> Work:
    """Return MNIST from GPUNN_DATA or its subfolder mnist, else the bundled digits."""
    return mnist() or digits()


@functools.cache
def mnist() -> Work | None:
    """Return MNIST, if its files are known and this is no rehearsal."""
    folder = None if device.REHEARSAL else mnist_folder()
    if folder is None:
        return None
    return scaled("MNIST", gpunn.data.load_mnist(folder), 255, (512, 512))


def digits() -> Work:
    """Return the bundled digits; in a rehearsal some of them, and a small network."""
    arrays = gpunn.data.load_digits()
    if device.REHEARSAL:
        return scaled("digits", [array[:512] for array in arrays], 16, (16,))
    return scaled("digits", arrays, 16, (512, 512))


def scaled(name: str, arrays: Sequence[np.ndarray], top: int, hidden: tuple[int, ...]) -> Work:
    """Return a work whose pixels, up to `top`, are scaled to [0, 1]."""
    X, y, X_test, y_test = arrays
    inputs = (X / top).astype(np.float32), (X_test / top).astype(np.float32)
    return Work(name, inputs[0], y, inputs[1], y_test, hidden)


def mnist_folder() -> Path | None:
    """Return the folder with MNIST's files, if it is known."""
    given = os.environ.get("GPUNN_DATA")
    if not given:
        return None
    folders = (Path(given), Path(given) / "mnist")
    return next((each for each in folders if any(each.glob("train-images-idx3-ubyte*"))), None)


@functools.cache
def synthetic() -> Work:
    """Return as many rows as MNIST has: noise, and a little of the pattern of each row's class."""
    generator = np.random.default_rng(SEED)
    rows = ROWS + ROWS // 6
    patterns = generator.random((CLASSES, FEATURES), np.float32)
    y = generator.integers(CLASSES, size=rows)
    X = generator.random((rows, FEATURES), np.float32)
    X += np.float32(PATTERN) * (patterns[y] - X)
    return Work("synthetic", X[:ROWS], y[:ROWS], X[ROWS:], y[ROWS:], ())


@functools.cache
def classification(features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return MNIST, or rows of its size: so many of its 784 columns, and labels."""
    data = mnist() or synthetic()
    columns = np.linspace(0, FEATURES - 1, features).astype(int)  # the first ones have no ink
    X, X_test = data.X[:, columns], data.X_test[:, columns]
    return X, data.y, X_test, data.y_test


def whole_batches(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and labels that a cell trains on."""
    X, y, _, _ = classification(cell.sizes[0])
    rows = len(X) // cell.batch * cell.batch
    return X[:rows], y[:rows]


def network(work: Work, backend: str | Backend) -> gpunn.Sequential:
    """Return the network of a work."""
    return relu_network(work.sizes, backend)


def relu_network(sizes: Sequence[int], backend: str | Backend) -> gpunn.Sequential:
    """Return a network with He's initial weights."""
    inputs, *hidden, outputs = sizes
    start = {"initializer": "he", "bias_initializer": "zeros"}
    layers = [gpunn.layers.Dense(units, activation="relu", **start) for units in hidden]
    layers.append(gpunn.layers.Dense(outputs, **start))
    return gpunn.Sequential(layers, inputs, backend, seed=SEED)


def trainer(
    model: gpunn.Sequential, metrics: tuple[str, ...] = (), optimizer: str = "adam"
) -> gpunn.Trainer:
    """Return a trainer with Adam, or SGD."""
    kinds: dict[str, Any] = {"adam": gpunn.optimizers.Adam, "sgd": gpunn.optimizers.SGD}
    rule = kinds[optimizer](RATES[optimizer])
    return gpunn.Trainer(model, "softmax_cross_entropy", rule, metrics)


def initial_parameters(sizes: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the weights, (inputs, units) each, and biases that `relu_network` starts with."""
    arrays = list(relu_network(sizes, "numpy").parameters.to_host().values())
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def order(epoch: int, rows: int) -> np.ndarray:
    """Return the order of an epoch's rows, the one that gpunn's trainer has."""
    return permutation(SEED, epoch, rows)
