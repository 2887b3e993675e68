"""Networks that the check trains, inspects and times, with random rows."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import device
import numpy as np
from custom import LogCosh, Residual

import gpunn
from gpunn.backends import Backend
from gpunn.layers import (
    Activation,
    ColumnGroups,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    MaxPool2D,
    MeanOverMembers,
    MemberDense,
    Members,
    ParametricActivation,
    PeriodicEmbedding,
    Scale,
)
from gpunn.losses import Loss, MeanSquaredError
from gpunn.optimizers import Adam, Optimizer
from gpunn.tabular import Recipe

CATEGORIES = {"binary": 2, "few": 5, "many": 12}
"""Columns of categories and their numbers of values; RealMLP embeds the last one."""

DROPOUT = 0.1


class Network(NamedTuple):
    layers: Sequence[Layer]
    loss: Loss
    optimizer: Optimizer
    metric: str
    X: np.ndarray
    y: np.ndarray

    def trainer(self, backend: str | Backend) -> gpunn.Trainer:
        """Return the network's trainer; only one, because a model keeps its layers."""
        model = gpunn.Sequential(self.layers, self.X.shape[1:], backend, seed=0)
        metrics = [self.metric] if self.metric else []
        return gpunn.Trainer(model, self.loss, self.optimizer, metrics)


def realmlp(rows: int, numbers: int, units: int) -> Network:
    return from_recipe(gpunn.tabular.realmlp, "robust", rows, numbers, units)


def tabm(rows: int, numbers: int, units: int, kind: str = "mini") -> Network:
    return from_recipe(gpunn.tabular.tabm, "quantile", rows, numbers, units, kind=kind, members=8)


def from_recipe(
    make: Callable[..., Recipe], scaling: str, rows: int, numbers: int, units: int, **options: Any
) -> Network:
    generator = np.random.default_rng(0)
    table: dict[str, Any] = {f"x{n}": generator.standard_normal(rows) for n in range(numbers)}
    for name, size in CATEGORIES.items():
        table[name] = [f"value {code}" for code in np.arange(rows) % size]
    schema = gpunn.tables.Schema.fit(table, scaling=scaling)
    X = schema.encode(table)
    recipe = make(schema, X, 1, "regression", hidden_layer_sizes=(units,) * 3, **options)
    y = generator.standard_normal((rows, 1))
    return Network(recipe.layers, recipe.loss, recipe.optimizer, recipe.metric, X, y)


def table(rows: int, numbers: int, units: int) -> Network:
    """Return a typical network for a table: three layers with layer norm and GELU."""
    hidden = [(Dense(units), LayerNorm(), Activation("gelu")) for _ in range(3)]
    return of_numbers([*(each for block in hidden for each in block), Dense(1)], rows, numbers)


def tabm_mini(rows: int, numbers: int, units: int) -> Network:
    """Return TabM-mini of 8 members, without an embedding of numbers."""
    hidden = [(MemberDense(units, "relu", adapters=False), Dropout(DROPOUT)) for _ in range(3)]
    last = [MemberDense(1, separate=True), MeanOverMembers()]
    layers = [Members(8), *(each for block in hidden for each in block), *last]
    return of_numbers(layers, rows, numbers)


def like_realmlp(rows: int, numbers: int, units: int) -> Network:
    """Return RealMLP's layers, without its schedules and factors of the learning rate."""
    hidden = [
        (Dense(units, parametrization="ntp"), ParametricActivation("mish"), Dropout(DROPOUT))
        for _ in range(3)
    ]
    layers = [PeriodicEmbedding(), Scale(), *(each for block in hidden for each in block)]
    return of_numbers([*layers, Dense(1, parametrization="ntp")], rows, numbers)


def custom(rows: int, numbers: int, units: int) -> Network:
    layers = [Dense(units, "relu"), Residual([Dense(units, "relu"), Dense(units)]), Dense(1)]
    return of_numbers(layers, rows, numbers, LogCosh())


def embedding(rows: int, numbers: int, units: int, categories: int = 100) -> Network:
    groups = [
        {"columns": (0, numbers - 1), "layers": []},
        {"columns": (numbers - 1, numbers), "layers": [Embedding([categories], 16)]},
    ]
    layers = [ColumnGroups(groups), Dense(units, "relu"), Dense(1)]
    network = of_numbers(layers, rows, numbers)
    network.X[:, -1] = np.random.default_rng(1).integers(categories, size=rows)
    return network


def images(rows: int, numbers: int, units: int) -> Network:
    """Return a network like LeNet-5, for gray images of `numbers` x `numbers` pixels."""
    blocks = [
        (Conv2D(filters, 5, padding="same", activation="relu"), MaxPool2D(padding="same"))
        for filters in (units, 2 * units)
    ]
    layers = [*(each for block in blocks for each in block), Flatten(), Dense(84, "relu"), Dense(1)]
    network = of_numbers(layers, rows, numbers * numbers)
    return network._replace(X=network.X.reshape(rows, numbers, numbers, 1))


def of_numbers(
    layers: Sequence[Layer], rows: int, numbers: int, loss: Loss | None = None
) -> Network:
    X = np.random.default_rng(0).standard_normal((rows, numbers), np.float32)
    y = np.sin(2 * X[:, :1]) + X[:, 1:2]
    return Network(layers, loss or MeanSquaredError(), Adam(), "r2", X, y.astype(np.float32))


Make = Callable[..., Network]


def sized(make: Make, numbers: int, units: int, **options: Any) -> Make:
    """Return a function from a number of rows to a network; small in a rehearsal."""
    if device.REHEARSAL:
        numbers, units, options = 3, 8, {}
    return partial(make, numbers=numbers, units=units, **options)


SHARED: dict[str, Make] = {
    "100-256x3-1, layer norm, GELU": sized(table, 100, 256),
    "embedding of 100,000 categories": sized(embedding, 2, 256, categories=100_000),
    "custom layer and loss": sized(custom, 100, 256),
    "images of 28x28, 5x5 to 8 and 16": sized(images, 28, 8),
}
INSPECTED: dict[str, Make] = {
    **SHARED,
    "TabM, 8 members, 3 x 192": sized(tabm, 20, 192),
    "RealMLP, 3 x 256": sized(realmlp, 20, 256),
}
"""Networks whose training, kernels and sources are checked. In a rehearsal they are smaller."""

TIMED: dict[str, Make] = {
    **SHARED,
    "TabM-mini, 8 members, 3 x 192": sized(tabm_mini, 100, 192),
    "like RealMLP, 3 x 256": sized(like_realmlp, 100, 256),
}
"""Networks that other libraries train with the same mathematics (see `elsewhere`)."""
