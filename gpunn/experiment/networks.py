"""Networks for tables by their names: layers from a schema, and how they are trained best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, signature
from typing import Any, NamedTuple

import numpy as np

from gpunn.config import Model
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, suggest
from gpunn.tables import Schema
from gpunn.tabular import Recipe, realmlp, tabm
from gpunn.tabular.tabm import PRESETS

__all__ = ["NETWORKS", "network_of", "recipe_of", "training_of"]


FURTHER: Mapping[str, list[str]] = {
    "classification": ["log_loss", "auc"],
    "multilabel": ["auc"],  # their log-loss is the loss
    "regression": [],
}
"""What is measured on validation rows of each task, beside what tells the best epoch."""


class Network(NamedTuple):
    """A network with a name.

    `make` takes a schema, encoded training rows, the number of outputs, the task, and
    `model.parameters`. `scaling` is that of numbers for which it is meant, and `on_cpu` has its
    parameters on a CPU, unless `model.parameters` says otherwise.
    """

    make: Callable[..., Recipe]
    scaling: str
    on_cpu: Mapping[str, Any] = {}


MEMBERS, SIZES = PRESETS["cpu"]
TABM_ON_CPU = {"members": MEMBERS, "hidden_layer_sizes": list(SIZES or ())}

NETWORKS: Mapping[str, Network] = {
    "realmlp": Network(realmlp, "robust"),
    "realmlp_s": Network(partial(realmlp, simplified=True), "robust"),
    "tabm": Network(tabm, "quantile", TABM_ON_CPU),
}


def network_of(name: str) -> Network:
    """Return the network of a name, or raise a ConfigError if there is none."""
    if name not in NETWORKS:
        raise ConfigError(f"model.name: there is no {name!r}; {suggest(name, NETWORKS)}")
    return NETWORKS[name]


def recipe_of(model: Model, schema: Schema, X: np.ndarray, outputs: int, task: str) -> Recipe:
    """Return the network for a table that a configuration names; X are the training rows, encoded.

    An unknown network, or an unknown or impossible parameter, raises a ConfigError.
    """
    assert model.name is not None
    make = network_of(model.name).make
    every = signature(make).parameters.values()
    known = [each.name for each in every if each.kind is Parameter.KEYWORD_ONLY]
    for parameter in model.parameters:
        if parameter not in known:
            raise ConfigError(
                f"model.parameters.{parameter}: {model.name!r} has no such parameter; "
                f"{suggest(parameter, known)}"
            )
    try:
        return make(schema, X, outputs, task, **model.parameters)
    except (ArgumentError, ArgumentTypeError) as error:
        raise ConfigError(f"model.parameters.{error}") from error


def training_of(recipe: Recipe, task: str) -> dict[str, Any]:
    """Return what `[training]` says of a recipe, as plain data."""
    metrics = [recipe.metric, "r2"] if task == "regression" else [recipe.metric]
    return {
        **recipe.options,
        "callbacks": [callback.config() for callback in recipe.options["callbacks"]],
        "loss": recipe.loss.config(),
        "optimizer": recipe.optimizer.config(),
        "metrics": list(dict.fromkeys(metrics)),
        "validation_metrics": list(FURTHER[task]),
    }
