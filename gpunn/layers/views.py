"""Arrays with another shape, which share their memory."""

from __future__ import annotations

from gpunn.backends.placeholder import Placeholder
from gpunn.layers.base import Layer
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

__all__ = ["reshaped", "view"]


def view(buffer: Array, shape: Shape, workspace: Workspace) -> Array:
    """Return a buffer of the workspace with another shape: the same memory."""
    if isinstance(buffer, Placeholder):
        return buffer.reshape(shape)
    return workspace.backend.xp.reshape(buffer, shape, copy=False)


def reshaped(
    layer: Layer, x: Array, shape: Shape, workspace: Workspace, name: str = "reshaped"
) -> Array:
    """Return x with another shape: a view, or a copy if x is a view with other strides.

    The shape has all axes, that of the rows included. A copy is in a buffer of the layer's, of this
    name.
    """
    try:
        return view(x, shape, workspace)
    except (ValueError, AttributeError):  # what NumPy and CuPy say if there is no such view
        dtype = workspace.backend.dtype_name(x)
        own = workspace.rows(layer, f"{name} {dtype} {x.shape[1:]}", x.shape[0], x.shape[1:], dtype)
        workspace.backend.assign(x, own)
        return view(own, shape, workspace)
