"""Makes the layers and training settings of a named tabular model from a schema."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from inspect import Parameter, signature
from typing import Any, NamedTuple

import numpy as np

from gpunn.config import Config, Draft, Model
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, suggest
from gpunn.experiment.splits import Splits
from gpunn.experiment.targets import are_labels
from gpunn.layers import Layer
from gpunn.losses import Loss
from gpunn.tables import Schema
from gpunn.tabular import Recipe, realmlp, tabm
from gpunn.tabular.tabm import PRESETS


class Network(NamedTuple):
    """A tabular model. `make` gets schema, encoded rows, outputs, task and `model.parameters`."""

    make: Callable[..., Recipe]
    scaling: str
    on_cpu: Mapping[str, Any] = {}


AUTO = "auto"

MEMBERS, SIZES = PRESETS["cpu"]
TABM_ON_CPU = {"members": MEMBERS, "hidden_layer_sizes": list(SIZES or ())}

NETWORKS: Mapping[str, Network] = {
    "realmlp": Network(realmlp, "robust"),
    "realmlp_s": Network(partial(realmlp, simplified=True), "robust"),
    "tabm": Network(tabm, "quantile", TABM_ON_CPU),
}


def network_of(name: str) -> Network:
    if name == AUTO:
        raise ConfigError(
            f"model.name: only gpunn train has the model {AUTO!r}, which trains several networks; "
            f"choose one of {', '.join(NETWORKS)}"
        )
    if name not in NETWORKS:
        raise ConfigError(f"model.name: there is no model {name!r}; {suggest(name, NETWORKS)}")
    return NETWORKS[name]


def settled(
    config: Draft, schema: Schema | None, splits: Splits, loss: Loss | None, on_cpu: bool
) -> tuple[list[Layer], Config]:
    model, name = config.model, config.model.name
    assert name is not None
    network = network_of(name)
    if schema is None:
        raise ConfigError(f'model.name: {name!r} is a tabular model; set data.dataset = "table"')
    if splits.validation is None and not config.decides("callbacks"):
        raise ConfigError(
            f"model.name: {name!r} needs validation rows to select the best epoch; set "
            "data.validation_fraction, or set training.callbacks = [] to train without a best epoch"
        )
    if on_cpu:
        model = replace(model, parameters={**network.on_cpu, **model.parameters})
    classes = len(splits.metadata.get("classes", ()))
    task = "classification" if classes else task_of_numbers(splits, loss)
    outputs = classes or len(splits.metadata.get("targets", [name]))
    X = schema.encode(splits.training.inputs(), config.dtype)
    recipe = recipe_of(model, network, schema, X, outputs, task)
    if loss is not None and loss.output_activation != recipe.loss.output_activation:
        raise ConfigError(
            f"training.loss: the outputs of the model {name!r} do not fit {loss.name!r}; choose "
            f"{recipe.loss.name!r}, or set model.layers instead of model.name"
        )
    config = replace(config, model=model)
    return list(recipe.layers), config.settled(training_of(recipe))


def task_of_numbers(splits: Splits, loss: Loss | None) -> str:
    y = splits.training.source_targets
    if y.ndim == 1 or y.shape[1] == 1:
        return "regression"
    labels = are_labels(y).all() if loss is None else loss.output_activation == "sigmoid"
    return "multilabel" if labels else "regression"


def recipe_of(
    model: Model, network: Network, schema: Schema, X: np.ndarray, outputs: int, task: str
) -> Recipe:
    every = signature(network.make).parameters.values()
    known = [each.name for each in every if each.kind is Parameter.KEYWORD_ONLY]
    for parameter in model.parameters:
        if parameter not in known:
            raise ConfigError(
                f"model.parameters.{parameter}: {model.name!r} has no such parameter; "
                f"{suggest(parameter, known)}"
            )
    with ConfigError.instead_of(ArgumentError, ArgumentTypeError, prefix="model.parameters."):
        return network.make(schema, X, outputs, task, **model.parameters)


def training_of(recipe: Recipe) -> dict[str, Any]:
    return {
        **recipe.options,
        "callbacks": [callback.config() for callback in recipe.options["callbacks"]],
        "loss": recipe.loss.config(),
        "optimizer": recipe.optimizer.config(),
        "metrics": recipe.metrics,
        "validation_metrics": recipe.validation_metrics,
    }
