"""Initial values that depend on training data, layer by layer."""

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

__all__ = ["start_from_data"]

MAX_ROWS = 16_384
"""Training rows that initial values are computed from, at most."""

BATCH = 1024
"""Rows that go through the network at a time."""


def start_from_data(model: Sequential, X: np.ndarray, indices: np.ndarray | None = None) -> None:
    """Set the parameters whose initializers look at training data (`initializers.FromData`).

    One layer after the other, each from what the layers before it make of the training rows now:
    first its weights, then its biases from what these weights give. All but the passes through
    layers is done on the host in float64, so results differ between engines by roundings alone. A
    memory map is read where rows are needed. Raise a DataError that names the layer if such a value
    is not finite.
    """
    rows = len(X) if indices is None else len(indices)
    chosen = generator(model.seed, "rows of initial values").permutation(rows)[:MAX_ROWS]
    chosen.sort()
    sample = rows_of(X, chosen if indices is None else indices[chosen])
    with model.backend.computing(), np.errstate(over="ignore", invalid="ignore"):
        for layer, prefix in places(model):
            start_layer(model, layer, prefix, inputs_of(model, layer, sample))
    model.started = True


def places(model: Sequential) -> Iterator[tuple[Layer, str]]:
    """Yield the layers with such parameters, in order, and the prefixes of their names."""

    def within(layer: Layer, prefix: str) -> Iterator[tuple[Layer, str]]:
        own = (name for name in layer.values if "." not in name)
        if any(isinstance(model.parameters.specs[prefix + n].initializer, FromData) for n in own):
            yield layer, prefix
        for label, child in layer.children().items():
            yield from within(child, f"{prefix}{label}.")

    for label, layer in zip(model.labels, model.layers, strict=True):
        if label in model.settled:
            continue
        yield from within(layer, f"{label}.")


def start_layer(model: Sequential, layer: Layer, prefix: str, x: np.ndarray) -> None:
    """Set such parameters of one layer, from its inputs; the weights first."""
    parameters, names = model.parameters, list(model.parameters)
    own = [name for name in layer.values if "." not in name]
    to_host = model.backend.to_host
    values = {name: to_host(layer.values[name]).astype(np.float64) for name in own}
    for name in sorted(own, key=lambda name: name == "biases"):
        initializer = parameters.specs[prefix + name].initializer
        if not isinstance(initializer, FromData):
            continue
        random = generator(model.seed, "initial values from data", names.index(prefix + name))
        z = layer.linear(x, values)
        shape = values[name].shape
        units = shape if name == "biases" else (*shape[:-2], shape[-1])
        # Where members share a parameter, the outputs of each are further rows.
        values[name] = initializer.from_data(random, values[name], z.reshape(-1, *units))
        check_learned(prefix.removesuffix("."), {name: values[name]}, model.dtype)
        parameters[prefix + name] = values[name]


def inputs_of(model: Sequential, layer: Layer, X: np.ndarray) -> np.ndarray:
    """Return what a layer within the network is given for these rows, as float64."""
    ops, dtype = model.backend, model.input_dtype(X.dtype)
    workspace = Workspace(ops, model.dtype, min(BATCH, len(X)))
    workspace.until_loss = True
    with recorded_inputs(layer) as found:
        for start in range(0, len(X), BATCH):
            model.forward(ops.from_host(X[start : start + BATCH], dtype), workspace)
    return np.concatenate(found)


@contextmanager
def recorded_inputs(layer: Layer) -> Iterator[list[np.ndarray]]:
    """Return a context in which what a layer is given is kept on the host, as float64."""
    found: list[np.ndarray] = []

    def forward(x: Array, workspace: Workspace) -> Array:
        found.append(workspace.backend.to_host(x).astype(np.float64))
        return type(layer).forward(layer, x, workspace)

    vars(layer)["forward"] = forward
    try:
        yield found
    finally:
        del vars(layer)["forward"]
