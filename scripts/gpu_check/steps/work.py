"""The training that steps share: data, network, and how it is trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import device
import numpy as np

import gpunn
from gpunn.backends import Backend

SEED = 0
RATE = 1e-3


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
    target : float
        Accuracy on the test rows to time the way to.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    hidden: tuple[int, ...]
    target: float

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of all layers, inputs and outputs included."""
        return (self.X.shape[1], *self.hidden, 10)

    def cut(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the training rows in whole batches."""
        rows = len(self.X) // batch * batch
        return self.X[:rows], self.y[:rows]


def load() -> Work:
    """Return MNIST from GPUNN_DATA or its subfolder mnist, else the bundled digits."""
    folder = None if device.REHEARSAL else mnist_folder()
    if folder is None:
        return digits()
    return scaled("MNIST", gpunn.data.load_mnist(folder), 255, (512, 512), 0.98)


def digits() -> Work:
    """Return the bundled digits; in a rehearsal some of them, and a small network."""
    arrays = gpunn.data.load_digits()
    if device.REHEARSAL:
        return scaled("digits", [array[:512] for array in arrays], 16, (16,), 0.5)
    return scaled("digits", arrays, 16, (512, 512), 0.95)


def scaled(
    name: str, arrays: Sequence[np.ndarray], top: int, hidden: tuple[int, ...], target: float
) -> Work:
    """Return a work whose pixels, up to `top`, are scaled to [0, 1]."""
    X, y, X_test, y_test = arrays
    inputs = (X / top).astype(np.float32), (X_test / top).astype(np.float32)
    return Work(name, inputs[0], y, inputs[1], y_test, hidden, target)


def mnist_folder() -> Path | None:
    """Return the folder with MNIST's files, if it is known."""
    given = os.environ.get("GPUNN_DATA")
    if not given:
        return None
    folders = (Path(given), Path(given) / "mnist")
    return next((each for each in folders if any(each.glob("train-images-idx3-ubyte*"))), None)


def network(work: Work, backend: str | Backend) -> gpunn.Sequential:
    """Return the network of the work, with He's initial weights."""
    start = {"initializer": "he", "bias_initializer": "zeros"}
    hidden = [gpunn.layers.Dense(units, activation="relu", **start) for units in work.hidden]
    layers = [*hidden, gpunn.layers.Dense(10, **start)]
    return gpunn.Sequential(layers, work.X.shape[1], backend, seed=SEED)


def trainer(model: gpunn.Sequential, metrics: tuple[str, ...] = ()) -> gpunn.Trainer:
    """Return a trainer with Adam."""
    optimizer = gpunn.optimizers.Adam(RATE)
    return gpunn.Trainer(model, "softmax_cross_entropy", optimizer, metrics)


def initial_weights(sizes: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """Return He-normal weights, (inputs, units) each, for libraries other than gpunn."""
    generator = np.random.default_rng(seed)
    return [
        generator.standard_normal((a, b), np.float32) * np.float32(np.sqrt(2 / a))
        for a, b in pairwise(sizes)
    ]
