"""Compute initial values that depend on training data, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from gpunn.data.memory_maps import rows_of
from gpunn.initializers import FromData
from gpunn.layers import Layer
from gpunn.network import Sequential, check_learned
from gpunn.randomness import generator
from gpunn.typing import Array
from gpunn.workspace import Workspace

MAX_ROWS = 16_384

BATCH = 1024


def start_from_data(model: Sequential, X: np.ndarray, indices: np.ndarray | None = None) -> None:
    rows = len(X) if indices is None else len(indices)
    chosen = generator(model.seed, "rows of initial values").permutation(rows)[:MAX_ROWS]
    chosen.sort()
    sample = rows_of(X, chosen if indices is None else indices[chosen])
    with model.backend.computing(), np.errstate(over="ignore", invalid="ignore"):
        for layer, prefix in layers_from_data(model):
            start_layer(model, layer, prefix, inputs_of(model, layer, sample))
    model.started = True


def layers_from_data(model: Sequential) -> Iterator[tuple[Layer, str]]:
    def within(layer: Layer, prefix: str) -> Iterator[tuple[Layer, str]]:
        names = [prefix + name for name in layer.values if "." not in name]
        if any(isinstance(model.parameters.specs[n].initializer, FromData) for n in names):
            yield layer, prefix
        for label, child in layer.children().items():
            yield from within(child, f"{prefix}{label}.")

    for label, layer in zip(model.labels, model.layers, strict=True):
        if label in model.settled:
            continue
        yield from within(layer, f"{label}.")


def start_layer(model: Sequential, layer: Layer, prefix: str, x: np.ndarray) -> None:
    parameters, names = model.parameters, list(model.parameters)
    to_host = model.backend.to_host
    values = {
        name: to_host(array).astype(np.float64)
        for name, array in layer.values.items()
        if "." not in name
    }
    for name in sorted(values, key=lambda name: name == "biases"):
        initializer = parameters.specs[prefix + name].initializer
        if not isinstance(initializer, FromData):
            continue
        random = generator(model.seed, "initial values from data", names.index(prefix + name))
        z = layer.linear(x, values)
        shape = values[name].shape
        units = shape if name == "biases" else (*shape[:-2], shape[-1])
        # If members share a parameter, the outputs of each member are further rows.
        values[name] = initializer.from_data(random, values[name], z.reshape(-1, *units))
        check_learned(prefix.removesuffix("."), {name: values[name]}, model.dtype)
        parameters[prefix + name] = values[name]


def inputs_of(model: Sequential, layer: Layer, X: np.ndarray) -> np.ndarray:
    ops, dtype = model.backend, model.input_dtype(X.dtype)
    workspace = Workspace(ops, model.dtype, min(BATCH, len(X)))
    workspace.until_loss = True
    with recorded_inputs(layer) as inputs:
        for start in range(0, len(X), BATCH):
            model.forward(ops.from_host(X[start : start + BATCH], dtype), workspace)
    return np.concatenate(inputs)


@contextmanager
def recorded_inputs(layer: Layer) -> Iterator[list[np.ndarray]]:
    inputs: list[np.ndarray] = []

    def forward(x: Array, workspace: Workspace) -> Array:
        inputs.append(workspace.backend.to_host(x).astype(np.float64))
        return type(layer).forward(layer, x, workspace)

    vars(layer)["forward"] = forward
    try:
        yield inputs
    finally:
        del vars(layer)["forward"]
