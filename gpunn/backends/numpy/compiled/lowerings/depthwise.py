"""Instructions for depthwise convolution, and for its gradients."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled.lowerings.base import Lowerings
from gpunn.backends.numpy.compiled.lowerings.pixels import inside, read_by, readers_of
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.backends.windows import Window
from gpunn.typing import Array, HostArray


class Axis(NamedTuple):
    table: HostArray
    """For each result: its first pixel, its number of terms, and its first weight, from
    `inside`."""
    step: int
    """Distance between two terms, in pixels."""
    skip: int
    """Distance between the weights of two terms."""


class Depthwise(Lowerings):
    def depthwise(
        self,
        window: Window,
        x: Array,
        weights: Array,
        out: Array,
        bias: Array | None = None,
        floor: float = -math.inf,
    ) -> list[Instruction]:
        """Return an instruction for out = max(bias + convolution of x, floor)."""
        axes = [
            Axis(inside(read_by(window, axis, out.shape[1 + axis]), x.shape[1 + axis]), gap, 1)
            for axis, gap in enumerate(window.dilation)
        ]
        return self._sums(x, weights, out, axes, window.kernel[1], window.strides[1], bias, floor)

    def depthwise_inputs(
        self, window: Window, gradient: Array, weights: Array, out: Array
    ) -> list[Instruction]:
        axes = []
        for axis, (stride, gap) in enumerate(zip(window.strides, window.dilation, strict=True)):
            common, positions = math.gcd(stride, gap), readers_of(window, axis, out.shape[1 + axis])
            table = inside(positions, gradient.shape[1 + axis])
            axes.append(Axis(table, -gap // common, stride // common))
        return self._sums(gradient, weights, out, axes, window.kernel[1], 1)

    def _sums(
        self,
        x: Array,
        weights: Array,
        out: Array,
        axes: list[Axis],
        kernel_width: int,
        stride: int,
        bias: Array | None = None,
        floor: float = -math.inf,
    ) -> list[Instruction]:
        """Return an instruction that multiplies pixels of x by weights and sums the products.

        Neighboring results with the same weights read pixels at a distance of `stride`.
        """
        (down, across), channels = axes, x.shape[3]
        line, weights_line = x.shape[2] * channels, kernel_width * channels
        initial = np.zeros(channels, x.dtype) if bias is None else bias
        args: list[Any] = [x, weights, initial, out, len(x), x[0].size, line, channels]
        for axis, table in (down, down.table), (across, with_fours(across.table)):
            args += [table, len(axis.table)]
        args += [down.step * line, across.step * channels]
        args += [down.skip * weights_line, across.skip * channels, weights_line]
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
    """Append a column: whether a row and the next three rows have the same weights."""
    same = [True] * max(len(table) - 3, 0) + [False] * min(len(table), 3)
    for shift in (1, 2, 3):
        for i, (one, other) in enumerate(zip(table[:, 1:], table[shift:, 1:], strict=False)):
            same[i] &= bool((one == other).all())
    return np.column_stack((table, same)).astype(np.int64)
