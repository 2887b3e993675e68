"""Rows of three classes, whole and in batches, and a small trainer with all that is random."""

import numpy as np

import gpunn
from gpunn.layers import BatchNorm, Dense, Dropout
from gpunn.optimizers import Adam

ROWS, SIZE = 50, 8
_random = np.random.default_rng(0)
Y = _random.integers(0, 3, ROWS)
X = (_random.normal(size=(ROWS, 4)) + 2 * np.eye(3, 4)[Y]).astype(np.float32)
W = _random.random(ROWS)


def batches(weights=False, size=SIZE):
    """Return batches of all rows in order, the last one smaller."""
    arrays = (X, Y, W) if weights else (X, Y)
    return [tuple(a[i : i + size] for a in arrays) for i in range(0, ROWS, size)]


def trainer(backend="numpy", layers=None, shape=4, optimizer=None, **options):
    made = layers or [Dense(8, "relu"), BatchNorm(), Dropout(0.2), Dense(3)]
    model = gpunn.Sequential(made, shape, backend, seed=3)
    optimizer = optimizer or Adam(0.01)
    return gpunn.Trainer(model, "softmax_cross_entropy", optimizer, ["accuracy"], **options)
