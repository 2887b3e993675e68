"""Images in an ONNX graph, whose operators expect float32, and the channels before the pixels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.expressions import NUMBER, in_order
from gpunn.interchange.steps import Sizes, Step
from gpunn.layers import BatchNorm, UpSampling2D
from gpunn.tables.onnx_nodes import Value
from gpunn.typing import Shape


@dataclass
class Rows:
    """The value of a variable, with the shape of a row.

    If `channels_first`, the value is an image or signal with the channels before the pixels, even
    after it is flattened. In `shape`, the channels are always last.
    """

    value: Value
    shape: Shape
    channels_first: bool = False

    def first(self) -> Value:
        if self.channels_first:
            return self.value
        axes = len(self.shape)
        return self._transposed((axes, *range(1, axes)))

    def last(self, vector: bool = False) -> Value:
        if not self.channels_first:
            return self.value
        value = self._transposed((*range(2, len(self.shape) + 1), 1))
        rows: Value = value.node("Flatten", value, axis=1) if vector else value
        return rows

    def _transposed(self, axes: Sequence[int]) -> Value:
        value: Value = self.value.node("Transpose", self.value, perm=[0, *axes])
        return value


def rows_of_channels(W: np.ndarray, image: Shape) -> np.ndarray:
    """Return the weights for a flattened image, reordered for an image with channels first."""
    return W.reshape(-1, image[-1], W.shape[1]).swapaxes(0, 1).reshape(W.shape)


def elementwise(step: Step) -> bool:
    if step.expression is None:
        return step.function == "exact_gelu"
    result = step.expression.result
    return not step.arguments and all(
        node.op == NUMBER or node.shape == result.shape for node in in_order([result])
    )


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
