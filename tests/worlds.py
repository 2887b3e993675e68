"""Trainings that tests of several processes have in common."""

import numpy as np

import gpunn
from gpunn.layers import Dense
from gpunn.optimizers import Adam

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(103, 7))
Y = RANDOM.integers(0, 3, 103)
WEIGHTS = RANDOM.uniform(0.5, 2, 103)
SETTINGS = ("gradient_accumulation", "batch_norm", "shards", "on_divergence", "report_every")


def trainer(communicator=None, dtype="float64", layers=None, optimizer=None, **settings):
    layers = [Dense(16, activation="relu"), Dense(3)] if layers is None else layers()
    model = gpunn.Sequential(layers, (7,), "numpy", 1, dtype)
    optimizer = Adam(0.01) if optimizer is None else optimizer()
    return gpunn.Trainer(
        model,
        "softmax_cross_entropy",
        optimizer,
        ["accuracy"],
        communicator=communicator,
        **settings,
    )


def trained(communicator=None, dtype="float64", layers=None, optimizer=None, **options):
    """Return a trainer after some epochs; options are those of the trainer and of `fit`."""
    settings = {name: options.pop(name) for name in SETTINGS if name in options}
    this = trainer(communicator, dtype, layers, optimizer, **settings)
    given = {"epochs": 3, "batch_size": 16, "validation_split": 0.2, "progress": False, **options}
    this.fit(X, Y, **given)
    return this


def values(this):
    """Return the parameters and buffers of a trainer's network, as one vector."""
    model = this.model
    parts = model.parameters.values, model.parameters.buffers
    return np.concatenate([model.backend.to_host(part) for part in parts])


def history(this):
    """Return the history without what a clock says."""
    return [
        {name: x for name, x in row.items() if "second" not in name} for row in this.history.rows
    ]


def difference(these, those):
    """Return the norm of the difference, relative to that of the second."""
    return np.linalg.norm(these - those) / np.linalg.norm(those)
