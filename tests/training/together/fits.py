"""Fits of small, different networks, which the tests train together."""

import numpy as np

import gpunn
from gpunn.callbacks import EarlyStopping
from gpunn.layers import BatchNorm, Dense, Dropout
from gpunn.optimizers import SGD, Adam
from gpunn.schedules import ReduceOnPlateau

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 4))
Y = RANDOM.integers(0, 3, 60)
BACKEND = gpunn.get_backend("numpy", threads=1)


def trainer(*hidden, optimizer=None, seed=0, **settings):
    model = gpunn.Sequential([*hidden, Dense(3)], 4, BACKEND, seed)
    loss, metrics = "softmax_cross_entropy", ["accuracy"]
    return gpunn.Trainer(model, loss, optimizer or Adam(0.01), metrics, **settings)


def fit(trainer, rows=slice(None), **options):
    given = {"epochs": 6, "batch_size": 8, "validation_split": 0.2, **options}
    return trainer.prepare(X[rows], Y[rows], **given)


def different():
    """Return fits whose layers, optimizers, rules, rows and epochs differ."""
    stopping = EarlyStopping("val_loss", patience=1, min_delta=0.1)
    plateau = SGD(ReduceOnPlateau(0.1, monitor="val_loss", patience=1, min_delta=0.1))
    return [
        fit(trainer(Dense(8, "relu"), seed=1)),
        fit(trainer(Dense(5, "tanh"), Dropout(0.3), log_every=2), slice(50), epochs=9),
        fit(trainer(Dense(4), BatchNorm(), optimizer=SGD(0.05, momentum=0.9)), epochs=2),
        fit(trainer(Dense(6, "relu")), callbacks=[stopping]),
        fit(trainer(optimizer=plateau), slice(None, None, 2), epochs=5),
        fit(trainer(Dense(8, "relu"), seed=2), batch_size=7, epochs=4),
    ]
