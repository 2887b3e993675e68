"""Compute the loss, averaged over members, from the outputs of the last layer before the loss."""

from __future__ import annotations

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.layers.outputs import OutputLayer
from gpunn.layers.views import view
from gpunn.losses import Loss
from gpunn.network import Sequential
from gpunn.typing import Array
from gpunn.workspace import Workspace


def check_output_layers(model: Sequential, loss: Loss) -> None:
    for label, layer in zip(model.labels, model.layers, strict=True):
        if isinstance(layer, OutputLayer) and not layer.supports(loss.output_activation):
            raise ArgumentError(
                f"layer {label!r}: does not fit the loss {loss.name!r}, whose output activation is "
                f"{loss.output_activation!r}; {layer.advice(loss.output_activation)}"
            )


def outputs_until_loss(model: Sequential, outputs: list[Array]) -> list[Array]:
    depth = model.trained_layers
    if depth == len(model.layers):
        return outputs
    if len(outputs) <= depth:
        raise ArgumentError(
            f"layer {model.labels[depth]!r}: comes after the loss, but training can't read the "
            "loss's input from the network's custom forward. Mark forward as operations_only, and "
            "return the outputs of all layers"
        )
    return outputs[: depth + 1]


def compute_loss(
    model: Sequential,
    workspace: Workspace,
    loss: Loss,
    predictions: Array,
    targets: Array,
    weights: Array,
    normalizer: Array,
    gradient: Array | None,
    loss_sum: Array,
    equal_weights: bool = False,
) -> None:
    # Predictions and gradient have the shape (rows, outputs) or (rows, members, outputs). The loss
    # of a network with members is the mean over members. If each member has separate rows, targets
    # and weights already have the shape (rows * members, ...), and weights are already divided by
    # members. With `equal_weights`, all weights are 1.
    ops = workspace.backend
    for layer in reversed(model.layers[model.trained_layers :]):  # the layers after the loss
        if isinstance(layer, OutputLayer):
            targets = layer.inner_targets(targets, workspace)
    if len(predictions.shape) == 3:
        shape = predictions.shape[0] * predictions.shape[1], predictions.shape[2]
        members = predictions.shape[1]
        if not workspace.independent_members:
            targets = repeat_rows(model, workspace, targets, members)
            if equal_weights:
                weights = equal_weights_of(members, model, workspace)[: shape[0]]
            else:
                weights = repeat_rows(model, workspace, weights, members)
                ops.rescale(weights, 1 / members, 0.0, weights)
        predictions = view(predictions, shape, workspace)
        gradient = None if gradient is None else view(gradient, shape, workspace)
    ops.loss(loss, predictions, targets, weights, normalizer, gradient, loss_sum)


def equal_weights_of(members: int, model: Sequential, workspace: Workspace) -> Array:
    def weights() -> np.ndarray:
        return np.full(workspace.capacity * members, 1 / members)

    return workspace.constant(model, f"equal weights of {members} members", weights, model.dtype)


def repeat_rows(model: Sequential, workspace: Workspace, array: Array, members: int) -> Array:
    ops, rows, shape = workspace.backend, array.shape[0], tuple(array.shape[1:])
    dtype = ops.dtype_name(array)

    def indices() -> np.ndarray:
        return np.repeat(np.arange(workspace.capacity), members)

    order = workspace.constant(model, f"rows of {members} members", indices, "int64")
    start = workspace.fixed(model, "first row", (1,), "int64")
    buffer = workspace.rows(model, f"{dtype} {shape} of members", rows, (members, *shape), dtype)
    out = view(buffer, (rows * members, *shape), workspace)
    ops.gather_rows(array, order, start, out)
    return out
