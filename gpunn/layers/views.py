"""Reshape arrays without copying if possible."""

from gpunn.backends.placeholder import Placeholder
from gpunn.layers.base import Layer
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace


def view(buffer: Array, shape: Shape, workspace: Workspace) -> Array:
    if isinstance(buffer, Placeholder):
        return buffer.reshape(shape)
    return workspace.backend.xp.reshape(buffer, shape, copy=False)


def reshaped(
    layer: Layer, x: Array, shape: Shape, workspace: Workspace, name: str = "reshaped"
) -> Array:
    # Returns a view, or a copy in the buffer `name` if x is a view with other strides. `shape`
    # includes the axis of rows.
    try:
        return view(x, shape, workspace)
    except (ValueError, AttributeError):  # of NumPy and CuPy: there is no view
        dtype = workspace.backend.dtype_name(x)
        buffer = f"{name} {dtype} {x.shape[1:]}"
        copy = workspace.rows(layer, buffer, x.shape[0], x.shape[1:], dtype)
        workspace.backend.assign(x, copy)
        return view(copy, shape, workspace)
