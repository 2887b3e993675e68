"""Networks for tables by their names: layers from a schema, and how they are trained best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from gpunn.config import Model
from gpunn.configurable import check_fraction, check_integers
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, suggest
from gpunn.layers import ColumnGroups, Dense, Dropout, Embedding, Layer, OneHot, TargetScaling
from gpunn.tables import Schema

__all__ = ["NETWORKS", "NamedNetwork", "Task", "entry_of", "named_network"]

MOST_ONE_HOT = 11
"""Codes up to which a column becomes one input for each category; beyond, a vector of few."""


class NamedNetwork(NamedTuple):
    """A network, and how it is trained unless something else is asked for.

    Attributes
    ----------
    layers : sequence of Layer
    training : dict
        Keys of `[training]`, as plain data.
    """

    layers: Sequence[Layer]
    training: dict[str, Any]


class Task(NamedTuple):
    """What a network for a table is for.

    Attributes
    ----------
    schema : Schema
    X : ndarray, shape (rows, schema.width)
        The training rows, encoded.
    classes : int
        How many there are; 0 if numbers are predicted.
    targets : int
        How many columns are predicted.
    validated : bool
        Whether there are validation rows.
    """

    schema: Schema
    X: np.ndarray
    classes: int
    targets: int
    validated: bool


def mlp(
    task: Task, *, hidden_layer_sizes: Sequence[int] = (128, 128), dropout: float = 0.1
) -> NamedNetwork:
    """Return a multilayer perceptron: ReLU layers on numbers, one-hot columns and embeddings."""
    rate = check_fraction("dropout", dropout)
    layers = input_layers(task.schema)
    for size in check_integers("hidden_layer_sizes", hidden_layer_sizes):
        layers.append(Dense(size, "relu"))
        layers += [Dropout(rate)] if rate else []
    layers.append(Dense(task.classes or task.targets))
    training: dict[str, Any] = {
        "loss": "softmax_cross_entropy",
        "metrics": ["accuracy"],
        "optimizer": {"name": "adamw", "learning_rate": 0.002},
        "batch_size": 256 if len(task.X) >= 4096 else 64,
        "epochs": 100,
    }
    if not task.classes:
        layers.append(TargetScaling())
        training |= {"loss": "mean_squared_error", "metrics": ["root_mean_squared_error", "r2"]}
    if task.validated:
        training["callbacks"] = [{"name": "early_stopping", "patience": 16}]
    return NamedNetwork(layers, training)


def input_layers(schema: Schema) -> list[Layer]:
    """Return the layer from a row of the encoded matrix to numbers: none without categories."""
    if not schema.categories:
        return []
    start = len(schema.numbers)
    groups: list[dict[str, Any]] = [{"columns": [0, start]}] if start else []
    for is_small, run in groupby(schema.categories, lambda each: each.size <= MOST_ONE_HOT):
        sizes = [category.size for category in run]
        layer = OneHot(sizes) if is_small else Embedding(sizes)
        groups.append({"columns": [start, start + len(sizes)], "layers": [layer]})
        start += len(sizes)
    return [ColumnGroups(groups)]


class Entry(NamedTuple):
    """What makes a network with a name, and the scaling of numbers that it is meant for."""

    make: Callable[..., NamedNetwork]
    scaling: str


NETWORKS: Mapping[str, Entry] = {"mlp": Entry(mlp, "robust")}


def entry_of(name: str) -> Entry:
    """Return what makes the network of a name, or raise a ConfigError if there is none."""
    if name not in NETWORKS:
        raise ConfigError(f"model.name: there is no {name!r}; {suggest(name, NETWORKS)}")
    return NETWORKS[name]


def named_network(model: Model, task: Task) -> NamedNetwork:
    """Return the network that a configuration names.

    Raises
    ------
    ConfigError
        If there is no such network, or a parameter is unknown or impossible.
    """
    assert model.name is not None
    make = entry_of(model.name).make
    taken = [
        name
        for name, each in signature(make).parameters.items()
        if each.kind is Parameter.KEYWORD_ONLY
    ]
    for parameter in model.parameters:
        if parameter not in taken:
            raise ConfigError(
                f"model.parameters.{parameter}: {model.name!r} has no such parameter; "
                f"{suggest(parameter, taken)}"
            )
    try:
        return make(task, **model.parameters)
    except (ArgumentError, ArgumentTypeError) as error:
        raise ConfigError(f"model.parameters.{error}") from error
