"""Tabular models with random tables: numbers, and categories with few and many values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import gpunn
from gpunn.layers import ColumnGroups, Dense, Embedding, Layer
from gpunn.tabular import Recipe

CATEGORIES = {"binary": 2, "few": 5, "many": 12}
"""Columns of categories and their numbers of values; RealMLP embeds the last one."""


class Tabular(NamedTuple):
    """A network, its loss, optimizer and metric, and encoded rows with targets."""

    layers: Sequence[Layer]
    loss: Any
    optimizer: Any
    metric: str
    X: np.ndarray
    y: np.ndarray


def realmlp(rows: int, numbers: int, units: int) -> Tabular:
    """Return a RealMLP for regression with three hidden layers."""
    return from_recipe(gpunn.tabular.realmlp, "robust", rows, numbers, units)


def tabm(rows: int, numbers: int, units: int, kind: str = "mini") -> Tabular:
    """Return a TabM of 8 members for regression with three hidden layers."""
    return from_recipe(gpunn.tabular.tabm, "quantile", rows, numbers, units, kind=kind, members=8)


def from_recipe(
    make: Callable[..., Recipe], scaling: str, rows: int, numbers: int, units: int, **options: Any
) -> Tabular:
    """Return a recipe's model for a table with `numbers` columns of numbers."""
    generator = np.random.default_rng(0)
    table: dict[str, Any] = {f"x{n}": generator.standard_normal(rows) for n in range(numbers)}
    for name, size in CATEGORIES.items():
        table[name] = [f"value {code}" for code in np.arange(rows) % size]
    schema = gpunn.tables.Schema.fit(table, scaling=scaling)
    X = schema.encode(table)
    recipe = make(schema, X, 1, "regression", hidden_layer_sizes=(units,) * 3, **options)
    y = generator.standard_normal((rows, 1))
    return Tabular(recipe.layers, recipe.loss, recipe.optimizer, recipe.metric, X, y)


def large_embedding(rows: int, categories: int, units: int) -> Tabular:
    """Return a network with one number and one embedded column of many categories."""
    generator = np.random.default_rng(0)
    codes = generator.integers(categories, size=(rows, 1))
    X = np.hstack([generator.standard_normal((rows, 1)), codes]).astype(np.float32)
    groups = [
        {"columns": (0, 1), "layers": []},
        {"columns": (1, 2), "layers": [Embedding([categories], 16)]},
    ]
    layers = [ColumnGroups(groups), Dense(units, "relu"), Dense(1)]
    loss, optimizer = gpunn.losses.MeanSquaredError(), gpunn.optimizers.Adam()
    return Tabular(layers, loss, optimizer, "r2", X, generator.standard_normal((rows, 1)))
