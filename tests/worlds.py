"""Trainings that tests of several processes have in common."""

import numpy as np
from layers.blocks import Reversed, Twice

import gpunn
from gpunn.layers import (
    Activation,
    BatchNorm,
    Chain,
    ColumnGroups,
    Dense,
    Dropout,
    LayerNorm,
    Standardization,
)
from gpunn.optimizers import SGD, Adam, Lamb

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(103, 7))
Y = RANDOM.integers(0, 3, 103)
WEIGHTS = RANDOM.uniform(0.5, 2, 103)
TRAINER = ("gradient_accumulation", "batch_norm", "shards", "on_divergence", "log_every")
SETTINGS = (*TRAINER, "backend")


def normed():
    return [Dense(16), BatchNorm(), Activation("relu"), Dropout(0.3), Dense(3)]


def with_dropout():
    return [Dense(16, activation="relu"), Dropout(0.5), Dense(3)]


def deep():
    """Return layers whose gradients are exchanged in several parts, if parts may be small."""
    hidden = [Dense(24, activation="relu") for _ in range(3)]
    return [*hidden, LayerNorm(), Activation("gelu"), Dropout(0.2), Dense(3)]


def decaying():
    return Adam(0.01, max_norm=0.1, weight_decay=0.01)


def grouped():
    """Normalizations of different sizes, which ranks without rows have to pass in one order."""
    groups = [
        {"columns": [start, stop], "layers": [Dense(units), BatchNorm()]}
        for start, stop, units in ((0, 3, 4), (3, 7, 6))
    ]
    return [ColumnGroups(groups), Dense(3)]


def blocks():
    """Normalizations in blocks, in another order than their fields, one of them called twice."""
    inner = [Dense(7), BatchNorm(epsilon=0.5)]
    return [Reversed(Chain([Dense(4), BatchNorm(epsilon=0.5)]), Twice(Chain(inner))), Dense(3)]


def frozen():
    return [
        Dense(16),
        BatchNorm(trainable=False),
        Activation("relu"),
        Dense(8, "tanh", trainable=False),
        Dropout(0.3),
        Dense(3),
    ]


CASES = {
    "plain": {},
    "sample weights": {"sample_weight": WEIGHTS},
    "class weights": {"class_weight": "balanced"},
    "clipping, penalty, decay": {
        "optimizer": lambda: Adam(0.01, max_norm=0.1, l2_penalty=0.01, weight_decay=0.01)
    },
    "accumulation": {"gradient_accumulation": 3, "batch_size": 5},
    "weights, accumulation, streamed": {
        "gradient_accumulation": 2,
        "batch_size": 7,
        "sample_weight": WEIGHTS,
        "stream": True,
    },
    "dropout": {"layers": with_dropout},
    "norms of parameters": {"optimizer": lambda: Lamb(0.05, max_norm=0.1, weight_decay=0.01)},
    # With SGD: the gradient of a bias before it is rounding alone, which Adam would enlarge.
    "batch norm": {"layers": normed, "optimizer": lambda: SGD(0.05, momentum=0.9)},
    "batch norm, ranks without rows": {
        "layers": normed,
        "batch_size": 3,
        "epochs": 1,
        "drop_last": True,  # one row of 82, which no layer may normalize
        "optimizer": lambda: SGD(0.05),
    },
    "groups of columns, ranks without rows": {
        "layers": grouped,
        "batch_size": 3,
        "epochs": 1,
        "drop_last": True,  # one row of 82, which no layer may normalize
        "optimizer": lambda: SGD(0.01),
    },
    "blocks": {"layers": blocks, "optimizer": lambda: SGD(0.02)},
    "blocks, ranks without rows": {
        "layers": blocks,
        "batch_size": 3,
        "epochs": 1,
        "drop_last": True,
        "optimizer": lambda: SGD(0.01),
    },
    "frozen layers, ranks without rows": {
        "layers": frozen,
        "batch_size": 3,
        "epochs": 1,
        "optimizer": lambda: Adam(0.01, max_norm=0.1, l2_penalty=0.01, weight_decay=0.01),
    },
    "ranks without rows": {"batch_size": 2, "epochs": 1},
    "ranks without rows, streamed": {"batch_size": 2, "epochs": 1, "stream": True},
    "not shuffled": {"shuffle": False},
    "drop_last": {"drop_last": True},
    "standardization": {"layers": lambda: [Standardization(), *with_dropout()]},
}
"""Options of `trained`, by what they try."""

ESSENTIAL = (
    *("plain", "weights, accumulation, streamed", "norms of parameters"),
    *("blocks, ranks without rows", "frozen layers, ranks without rows"),
)
"""Cases with the kernels and exchanges of all; on devices the others are for the full run."""


def on_devices(case):
    """Return a case's options where devices are emulated: but for one case, two epochs are enough.

    In the second one each step has a graph, with rows of whole batches and with those of the last.
    """
    return CASES[case] if case == "plain" else {"epochs": 2, **CASES[case]}


def trainer(
    communicator=None, dtype="float64", layers=None, optimizer=None, backend="numpy", **settings
):
    layers = [Dense(16, activation="relu"), Dense(3)] if layers is None else layers()
    model = gpunn.Sequential(layers, (7,), backend, 1, dtype)
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
    if np.array_equal(these, those):
        return 0.0
    return np.linalg.norm(these - those) / np.linalg.norm(those)
