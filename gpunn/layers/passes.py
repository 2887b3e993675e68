"""Passes through layers in sequence, and how a layer of the user's own takes part in them.

A recorded pass is a tape of operations. `operations_only` says which methods put theirs there.
Any other method is one operation itself: a call that runs it each time and leaves its result where
the operations after it look for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

from gpunn.backends.recording import recording
from gpunn.errors import ArgumentError
from gpunn.layers.base import Layer
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

__all__ = ["Network", "first_trained", "network_backward", "network_forward", "run_backward"]
__all__ += ["run_forward"]


def run_forward(layers: Sequence[Layer], x: Array, workspace: Workspace) -> list[Array]:
    """Return [x, output of layer 1, output of layer 2, ...]."""
    outputs = [x]
    for layer in layers:
        outputs.append(forward(layer, outputs[-1], workspace))
    return outputs


def run_backward(
    layers: Sequence[Layer],
    outputs: Sequence[Array],
    gradient: Array,
    workspace: Workspace,
    wants_input_gradient: bool = False,
) -> Array:
    """Set the gradients of all layers by the chain rule, and return the last one computed.

    It is dL/dx if that is wanted. Otherwise nothing is computed below the first layer with
    parameters.

    Parameters
    ----------
    outputs : sequence of array
        What `run_forward` returned.
    gradient : array
        dL/d(last output); overwritten.
    """
    first = 0 if wants_input_gradient else first_trained(layers)
    for index in range(len(layers) - 1, first - 1, -1):
        wanted = wants_input_gradient or index > first
        x, y = outputs[index], outputs[index + 1]
        gradient = backward(layers[index], x, y, gradient, workspace, wanted)
    return gradient


def first_trained(layers: Sequence[Layer]) -> int:
    """Return the number of the first layer with parameters to train, or the number of layers."""
    return next((i for i, layer in enumerate(layers) if layer.gradients), len(layers))


def forward(layer: Layer, x: Array, workspace: Workspace) -> Array:
    """Return y = f(x)."""
    if not recording() or by_operations(layer, "forward"):
        return layer.forward(x, workspace)
    shape = layer.output_shape(x.shape[1:])
    result = workspace.rows(layer, "result of forward", x.shape[0], shape)
    workspace.backend.call(
        lambda: put(
            workspace, layer.forward(x, workspace), result, f"layer {layer.name!r}: forward"
        )
    )
    return result


def backward(
    layer: Layer,
    x: Array,
    y: Array,
    gradient: Array,
    workspace: Workspace,
    wants_input_gradient: bool,
) -> Array:
    """Return dL/dx from dL/dy, and set the layer's gradients."""
    if not recording() or by_operations(layer, "backward"):
        return layer.backward(x, y, gradient, workspace, wants_input_gradient)
    result = gradient
    if gradient.shape != x.shape:
        result = workspace.rows(layer, "result of backward", x.shape[0], x.shape[1:])

    def call() -> None:
        found = layer.backward(x, y, gradient, workspace, wants_input_gradient)
        if wants_input_gradient:
            put(workspace, found, result, f"layer {layer.name!r}: backward")

    workspace.backend.call(call)
    return result


def put(workspace: Workspace, found: Array, result: Array, what: str) -> None:
    """Set result = found, which may be the same array.

    Raises
    ------
    ArgumentError
        If the shape is another one.
    """
    if found is result:
        return
    shape = getattr(found, "shape", None)
    if shape != result.shape:
        raise ArgumentError(
            f"{what} returned {'no array' if shape is None else f'shape {tuple(shape)}'}; expected "
            f"shape {tuple(result.shape)}, the batch's rows and what output_shape says of a row"
        )
    workspace.backend.copy_to(found, result)


def by_operations(owner: object, name: str) -> bool:
    """Return whether a pass of a layer or network computes by operations of the backend alone.

    It does if the method is marked, and no subclass of the class that has it computes what the
    method may look at: a property is asked for once, while a pass is recorded.
    """
    if name in vars(owner):
        return False
    for cls in type(owner).__mro__:
        members = vars(cls)
        if name in members:
            return hasattr(members[name], "operations_only")
        if "__getattribute__" in members or "__getattr__" in members:
            return False
        if any(isinstance(member, property | cached_property) for member in members.values()):
            return False
    return False


class Network(Protocol):
    """What passes are run through; `gpunn.Sequential` or a subclass of the user's own."""

    output_shape: Shape

    def forward(self, x: Array, workspace: Workspace) -> list[Array]:
        """Return [x, output of layer 1, output of layer 2, ...]."""

    def backward(self, outputs: Sequence[Array], gradient: Array, workspace: Workspace) -> None:
        """Set the gradients of all parameters."""


def network_forward(network: Network, x: Array, workspace: Workspace) -> list[Array]:
    """Return what the network's `forward` does; the last one, where that runs each time anew."""
    if not recording() or by_operations(network, "forward"):
        return network.forward(x, workspace)
    result = workspace.rows(network, "result of forward", x.shape[0], network.output_shape)
    outputs: list[Any] = [result]

    def call() -> None:
        found = network.forward(x, workspace)
        put(workspace, found[-1], result, "model: forward")
        outputs[:] = [*found[:-1], result]

    workspace.backend.call(call)
    return outputs


def network_backward(
    network: Network, outputs: list[Array], gradient: Array, workspace: Workspace
) -> None:
    """Do what the network's `backward` does."""
    alone = by_operations(network, "forward") and by_operations(network, "backward")
    if not recording() or alone:
        network.backward(outputs, gradient, workspace)
    else:
        workspace.backend.call(lambda: network.backward(outputs, gradient, workspace))
