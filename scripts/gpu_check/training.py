"""The training runs of all libraries: data, networks, initial weights and order of rows."""

import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import device
import numpy as np
from cell import Cell
from networks import TIMED, Network

import gpunn
from gpunn.backends import Backend
from gpunn.losses import SoftmaxCrossEntropy
from gpunn.optimizers import SGD, Adam, AdamW, Optimizer
from gpunn.randomness import permutation

SEED = 0


class Rule(NamedTuple):
    kind: type[Optimizer]
    rate: float
    decay: float = 0.0
    max_norm: float | None = None

    def optimizer(self) -> Optimizer:
        return self.kind(self.rate, weight_decay=self.decay, max_norm=self.max_norm)


RULES = {"adam": Rule(Adam, 1e-3), "sgd": Rule(SGD, 0.02), "adamw": Rule(AdamW, 2e-3, 3e-4, 1.0)}
FEATURES, CLASSES = 784, 10
ROWS = 160 if device.REHEARSAL else 60_000
"""The number of MNIST's training rows."""


class Data(NamedTuple):
    """A classification to learn: float32 rows in [0, 1], and int64 labels."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def digits() -> Data:
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
    data = mnist_or_synthetic()
    columns = np.linspace(0, FEATURES - 1, features).astype(int)  # the first pixels are always 0
    return data._replace(X=data.X[:, columns], X_test=data.X_test[:, columns])


def network(cell: Cell) -> Network:
    """Return the network of a cell, its optimizer, and the rows of whole batches; no metric."""
    if cell.network in TIMED:
        found = TIMED[cell.network](ROWS)
    else:
        sizes = tuple(map(int, cell.network.split("-")))
        data = with_features(sizes[0])
        layers = dense_layers(sizes[1:])
        found = Network(layers, SoftmaxCrossEntropy(), Adam(), "", data.X, data.y)
    rows = len(found.X) // cell.batch * cell.batch
    return found._replace(
        optimizer=RULES[cell.optimizer].optimizer(), metric="", X=found.X[:rows], y=found.y[:rows]
    )


def trainer(
    sizes: Sequence[int],
    backend: str | Backend,
    metrics: tuple[str, ...] = (),
    communicator: Any = None,
    seed: int = SEED,
) -> gpunn.Trainer:
    model = gpunn.Sequential(dense_layers(sizes[1:]), sizes[0], backend, seed=seed)
    optimizer = RULES["adam"].optimizer()
    return gpunn.Trainer(
        model, SoftmaxCrossEntropy(), optimizer, metrics, communicator=communicator
    )


def dense_layers(units: Sequence[int]) -> list[gpunn.layers.Dense]:
    start = {"initializer": "he", "bias_initializer": "zeros"}
    *hidden, outputs = units
    return [
        *(gpunn.layers.Dense(each, activation="relu", **start) for each in hidden),
        gpunn.layers.Dense(outputs, **start),
    ]


def initial_parameters(task: Network) -> dict[str, tuple[np.ndarray, bool]]:
    """Return the initial parameters by name, and whether weight decay applies to each."""
    parameters = task.trainer("numpy").model.parameters
    return {
        name: (values, bool(parameters.specs[name].decay))
        for name, values in parameters.to_host().items()
    }


def order(epoch: int, rows: int) -> np.ndarray:
    return permutation(SEED, epoch, rows)


def distance(expected: Sequence[float], actual: Sequence[float], relative: bool = True) -> float:
    """Return the maximum difference of two logs of epochs, or NaN if a difference is NaN."""
    pairs = zip(expected, actual, strict=True)
    return largest([abs(a - b) / (abs(a) if relative else 1) for a, b in pairs])


def largest(distances: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, distances)) else max(distances)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
