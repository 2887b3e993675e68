"""Operators of ONNX for images, which expect float32, and the channels before the pixels."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from gpunn.interchange.steps import Sizes
from gpunn.layers import BatchNorm, UpSampling2D
from gpunn.tables.onnx_nodes import Value


class ChannelsLast(Value):
    """Rows with channels last, which an operator computed with channels first.

    `first` has the rows with channels first. Reading `name` adds a node Transpose.
    """

    def __init__(self, first: Value, axes: int) -> None:
        self.graph, self.dtype, self.first, self.axes = first.graph, first.dtype, first, axes

    @cached_property
    def name(self) -> str:  # type: ignore[override]
        return transposed(self.first, *range(2, self.axes + 1), 1).name


def transposed(x: Value, *axes: int) -> Value:
    value: Value = x.node("Transpose", x, perm=[0, *axes])
    return value


def channels_first(function: Callable[..., Any], axes: int) -> Callable[..., Value]:
    """Adapt a function for rows with channels first to rows with channels last."""

    def first(x: Any) -> Any:
        if isinstance(x, ChannelsLast):
            return x.first
        return transposed(x, axes, *range(1, axes)) if isinstance(x, Value) else x

    return lambda *given: ChannelsLast(function(*map(first, given)), axes)


def attributes(window: Sizes) -> dict[str, Any]:
    sizes, outputs, kernel, strides, starts, gaps = map(np.array, window)
    ends = (outputs - 1) * strides + (kernel - 1) * gaps + 1 - sizes - starts
    pads = [*window[4], *np.maximum(ends, 0).tolist()]
    return {"kernel_shape": window[2], "strides": window[3], "pads": pads}


def convolution(x: Value, W: np.ndarray, b: np.ndarray, window: Sizes, groups: int) -> Any:
    matrices = np.moveaxis(W.reshape(*window[2], -1, len(b)), (-1, -2), (0, 1))
    biases = [b] if b.any() else []
    others = attributes(window)
    return x.node("Conv", x, matrices, *biases, group=groups, dilations=window[5], **others)


def upsample(layer: Any, x: Value) -> Any:
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return x.node("Resize", x, np.zeros(0), np.array([1.0, 1.0, *layer.size]), **how)


def batch_norm(x: Value, values: Mapping[str, np.ndarray], epsilon: float) -> Any:
    names = "scale", "shift", "running_mean", "running_variance"
    return x.node("BatchNormalization", x, *(values[name] for name in names), epsilon=epsilon)


IMAGES: Mapping[object, Callable[..., Any]] = {
    BatchNorm: batch_norm,
    UpSampling2D: upsample,
    "average_pool": lambda x, window: x.node("AveragePool", x, **attributes(window)),
    "convolution": convolution,
    "max_pool": lambda x, window: x.node("MaxPool", x, **attributes(window)),
}
