"""Instructions for depthwise convolution, and for its gradients."""

import math
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.lowerings.base import Lowerings
from gpunn.backends.numpy.compiled.lowerings.pixels import inside, read_by, readers_of
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.backends.windows import Window
from gpunn.typing import Array, HostArray


class Depthwise(Lowerings):
    def depthwise(
        self,
        window: Window,
        x: Array,
        weights: Array,
        out: Array,
        bias: Array | None = None,
        floor: float = -math.inf,
        is_gradient: bool = False,
    ) -> list[Instruction]:
        # If `is_gradient`, x is the gradient of a convolution's result, and out of the images.
        tables, distances = [], []
        for axis, (stride, gap) in enumerate(zip(window.strides, window.dilation, strict=True)):
            size, distance, skip = out.shape[1 + axis], gap, 1
            positions = read_by(window, axis, size)
            if is_gradient:
                positions, common = readers_of(window, axis, size), math.gcd(stride, gap)
                distance, skip = -gap // common, stride // common
            tables.append(inside(positions, x.shape[1 + axis]))
            distances.append((distance, skip))  # between two pixels, and between their weights
        tables[1] = with_fours(tables[1])
        (down, skip_down), (across, skip_across) = distances
        # The distance of the pixels that neighboring results multiply by the same weight
        stride = 1 if is_gradient else window.strides[1]
        (*_, width, channels), weights_line = x.shape, window.kernel[1] * x.shape[3]
        line, initial = width * channels, np.zeros(channels, x.dtype) if bias is None else bias
        args: list[Any] = [x, weights, initial, out, len(x), x[0].size, line, channels]
        for table in tables:
            args += [table, len(table)]
        args += [down * line, across * channels]
        args += [skip_down * weights_line, skip_across * channels, weights_line]
        args += [stride * channels, floor]
        return [self.instruction("depthwise", args, [x, weights, initial], [out], [x, out])]

    def depthwise_weights(
        self, window: Window, x: Array, gradient: Array, out: Array
    ) -> list[Instruction]:
        sums = out if self.threads == 1 else np.empty((self.threads, out.size), out.dtype)
        args: list[Any] = [x, gradient, sums, *x.shape, *gradient.shape[1:3], *window.kernel]
        args += [*window.strides, *window.padding, *window.dilation]
        steps = [Instruction("depthwise_weights", args, [x, gradient], [sums], [x, gradient])]
        return steps if sums is out else [*steps, sum_rows(sums, out)]


def with_fours(table: HostArray) -> HostArray:
    """Append a column: 1 if this row and the next three rows use the same weights, else 0."""
    same = np.zeros(len(table), np.int64)
    if len(table) > 3:
        fours = np.lib.stride_tricks.sliding_window_view(table[:, 1:], 4, axis=0)
        same[:-3] = (fours == fours[..., :1]).all(axis=(1, 2))
    return np.column_stack((table, same))
