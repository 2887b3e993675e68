"""Sizes of windows, and shapes of outputs, for convolution and pooling."""

from typing import Any

from gpunn.backends.windows import Window
from gpunn.configurable import check_integer
from gpunn.errors import ArgumentError
from gpunn.layers.base import Layer
from gpunn.layers.views import reshaped, view
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

PADDINGS = ("valid", "same")

AXES = {1: "(length, channels)", 2: "(height, width, channels)"}


def as_sizes(argument: str, value: Any, axes: int) -> tuple[int, ...]:
    values = list(value) if isinstance(value, list | tuple) else [value] * axes
    if len(values) != axes:
        raise ArgumentError(
            f"{argument}: expected an integer"
            f"{f' or {axes} integers (height, width)' if axes > 1 else ''}; got {value!r}"
        )
    return tuple(check_integer(argument, each) for each in values)


def image_shape(layer: Layer, input_shape: Shape, axes: int) -> Shape:
    if len(input_shape) != axes + 1:
        lacks = len(input_shape) == axes
        single = ". If rows have a single channel, as gray images do, add an axis: X[..., None]"
        hint = single if lacks else ""
        raise ArgumentError(
            f"{layer.name}: expected rows of shape {AXES[axes]}; got rows of shape "
            f"{input_shape}{hint}"
        )
    return image_of(input_shape)


def windowed(
    layer: Any, input_shape: Shape, argument: str, dilation: Shape = (1, 1)
) -> tuple[Window, Shape]:
    # With "same", each output has ceil(size / stride) pixels along an axis. If the padding is odd,
    # the end gets one pixel more than the start, as in Keras.
    kernel = getattr(layer, argument)
    axes, outputs, starts = len(kernel), [], []
    image = image_shape(layer, input_shape, axes)
    kernels, steps, gaps = ((1, *each)[-2:] for each in (kernel, layer.strides, dilation))
    for size, length, stride, gap in zip(image, kernels, steps, gaps, strict=False):
        span = (length - 1) * gap + 1
        count = (size - (span if layer.padding == "valid" else 1)) // stride + 1
        if count < 1:
            fits = [(each - 1) // gap + 1 for each, gap in zip(image, gaps, strict=False)]
            raise ArgumentError(
                f"{layer.name}: {argument}={given(kernel)} covers {span} pixels"
                f"{f' with dilation {gap}' if gap > 1 else ''}, but along one axis, rows of shape "
                f"{input_shape} have only {size}; use at most {given(tuple(fits[-axes:]))}, or "
                "padding='same'"
            )
        outputs.append(count)
        starts.append(max((count - 1) * stride + span - size, 0) // 2)
    return Window(kernels, steps, tuple(starts), gaps), tuple(outputs)


def given(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    return sizes[0] if len(set(sizes)) == 1 else sizes


def as_images(layer: Layer, x: Array, workspace: Workspace) -> Array:
    # Rows of shape (length, channels) or (channels,) get height 1.
    if len(x.shape) == 4:
        return x
    return reshaped(layer, x, (x.shape[0], *image_of(x.shape[1:])), workspace)


def image_buffer(
    layer: Layer, name: str, rows: int, shape: Shape, workspace: Workspace
) -> tuple[Array, Array]:
    buffer = workspace.rows(layer, name, rows, shape)
    if len(shape) == 3:
        return buffer, buffer
    return buffer, view(buffer, (rows, *image_of(shape)), workspace)


def image_of(shape: Shape) -> Shape:
    return (1, 1, *shape)[-3:]
