"""The loss where it is taken: before the layers that come after it, and over members."""

from __future__ import annotations

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.layers.outputs import OutputLayer
from gpunn.layers.views import view
from gpunn.losses import Loss
from gpunn.network import Sequential
from gpunn.typing import Array
from gpunn.workspace import Workspace

__all__ = ["check_output_layers", "compute_loss", "outputs_until_loss"]


def output_layers(model: Sequential) -> list[OutputLayer]:
    """Return the layers after the loss."""
    layers = model.layers[model.trained_layers :]
    return [layer for layer in layers if isinstance(layer, OutputLayer)]


def check_output_layers(model: Sequential, loss: Loss) -> None:
    """Raise an ArgumentError if a layer after the loss does not go with it."""
    for label, layer in zip(model.labels, model.layers, strict=True):
        if isinstance(layer, OutputLayer) and not layer.takes(loss.output_activation):
            raise ArgumentError(
                f"layer {label!r}: does not go with the loss {loss.name!r}, which takes outputs "
                f"for {loss.output_activation!r}; {layer.advice(loss.output_activation)}"
            )


def outputs_until_loss(model: Sequential, outputs: list[Array]) -> list[Array]:
    """Return what a forward pass returned, up to what the loss is taken of."""
    depth = model.trained_layers
    if depth == len(model.layers):
        return outputs
    if len(outputs) <= depth:
        raise ArgumentError(
            f"layer {model.labels[depth]!r}: comes after the loss, so the network's forward must "
            "be gpunn's, or be marked operations_only and return the outputs of all layers"
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
) -> None:
    """Do as `Operations.loss`, with targets as the network's predictions have them.

    Predictions and gradient are of shape (rows, outputs) or (rows, members, outputs). The loss of
    members is the mean of theirs: that of rows * members predictions, each with the target of its
    row and with 1 / members of the row's weight. Where members have rows of their own, targets and
    weights are those of all of them, (rows * members, ...), and the weights are divided already.
    """
    ops = workspace.backend
    for layer in reversed(output_layers(model)):
        targets = layer.inner_targets(targets, workspace)
    if len(predictions.shape) == 3:
        shape = predictions.shape[0] * predictions.shape[1], predictions.shape[2]
        members = predictions.shape[1]
        if not workspace.independent_members:
            targets, weights = (
                repeated(model, workspace, it, members) for it in (targets, weights)
            )
            ops.rescale(weights, 1 / members, 0.0, weights)
        predictions = view(predictions, shape, workspace)
        gradient = None if gradient is None else view(gradient, shape, workspace)
    ops.loss(loss, predictions, targets, weights, normalizer, gradient, loss_sum)


def repeated(model: Sequential, workspace: Workspace, array: Array, members: int) -> Array:
    """Return an array with each row as often as there are members, in a buffer of its own."""
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
