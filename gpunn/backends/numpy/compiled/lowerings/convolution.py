"""Instructions for convolution of images, and for its gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.lowerings.base import Steps, present, same_kind
from gpunn.backends.numpy.compiled.lowerings.dense import Dense
from gpunn.backends.numpy.compiled.lowerings.depthwise import Depthwise
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.backends.numpy.memory import zeros
from gpunn.backends.recording import Arguments
from gpunn.backends.windows import Window, groups_of, is_depthwise
from gpunn.typing import Array

TERMS = 128
"""A product for the weights' gradient adds this number of pixels at a time: their gradients then
stay in the L1 cache."""

WEIGHTS_PER_PIXEL = 512
"""If images have fewer than TERMS pixels, and more weights per pixel than this number, a product
adds the pixels of several images. The sums are then read and written less often."""

ROWS = 8
"""Number of rows of an image whose gradients are computed together: meanwhile, a panel of weights
stays cached."""


SPAN, BUFFER = 64, 1 << 17
"""A buffer has the products of at least SPAN pixels of a row, or of more pixels if they fit into
BUFFER bytes."""


class Convolution(Depthwise, Dense):
    def convolve(self, op: Arguments) -> Steps:
        return self.forward(op, partial(self._convolved, op.window))

    def convolution(self, op: Arguments) -> Steps:
        x, weights, bias, out = op.x, op.weights, op.bias, op.out
        if not same_kind(x, weights, out, *present(bias)) or not out.size:
            return None
        return self._convolved(op.window, x, weights, out, bias)

    def _convolved(
        self,
        window: Window,
        x: Array,
        weights: Array,
        out: Array,
        bias: Array | None = None,
        floor: float = -math.inf,
    ) -> list[Instruction]:
        if is_depthwise(x.shape[3], weights, window):
            return self.depthwise(window, x, weights, out, bias, floor)
        patch, units = weights.shape
        groups = groups_of(x.shape[3], weights, window)
        columns = units // groups
        packed = [Packed(weights, 0, (patch, columns), (units, 1), groups, columns)]
        packing, panels = self._panels(packed)
        x, out = flattened(window, x, out)
        wide, buffer = self._padded(window, x, out)
        zero = np.zeros(units, x.dtype)
        initial = zero if bias is None else bias
        args = self._arguments(window, groups, x, panels, out, buffer)
        args += [wide, initial, zero, floor, self.pieces_of(x, out)]
        read = [x, panels, buffer, initial, zero]
        return [*packing, self.instruction("convolution", args, read, [out], [x, out])]

    def convolution_weights(self, op: Arguments) -> Steps:
        window, out = op.window, op.out
        if not same_kind(op.x, op.gradient, out) or not op.gradient.size:
            return None
        self.products.gradients.append(out)
        if is_depthwise(op.x.shape[3], out, window):
            return self.depthwise_weights(window, op.x, op.gradient, out)
        groups = groups_of(op.x.shape[3], out, window)
        x, gradient = flattened(window, op.x, op.gradient)
        rows, columns, units = gradient.shape[1:]
        span = min(columns, TERMS)
        block, images = min(rows, TERMS // span), 1
        if rows * columns < TERMS and out.size > WEIGHTS_PER_PIXEL * rows * columns:
            block, images = 1, min(TERMS // span, len(x))
        panel = self.products.vectors.panel
        copies = units * x.itemsize > panel
        copied = max(block, images) * span * panel if copies else 0
        wide, buffer = self._padded(window, x, gradient, images, copied)
        sums = out if self.threads == 1 else np.empty((self.threads, out.size), out.dtype)
        args = self._arguments(window, groups, x, sums, gradient, buffer)
        args += [wide, images, block, span, copies, self.pieces_of(x, gradient)]
        read = [x, gradient, buffer]
        steps = [self.instruction("convolution_weights", args, read, [sums], [x, gradient])]
        return steps if sums is out else [*steps, sum_rows(sums, out)]

    def convolution_inputs(self, op: Arguments) -> Steps:
        weights, window = op.weights, op.window
        if not same_kind(op.gradient, weights, op.out) or not op.out.size:
            return None
        if is_depthwise(op.out.shape[3], weights, window):
            return self.depthwise_inputs(window, op.gradient, weights, op.out)
        out, gradient = flattened(window, op.out, op.gradient)
        height, width, every = out.shape[1:]
        units, groups, size = weights.shape[1], groups_of(every, weights, window), out.itemsize
        channels, (_, kernel_width) = every // groups, window.kernel
        taps, block, span, bytes_of_row = kernel_width, min(ROWS, height), width, 0
        if groups == 1 < kernel_width and window.dilation[1] == 1 and folds(channels * size):
            taps, channels = 1, kernel_width * channels
            span = min(width, max(SPAN, BUFFER // (channels * size)))
            bytes_of_row = ((span + kernel_width - 2) // window.strides[1] + 1) * channels * size
            block = max(1, min(block, BUFFER // bytes_of_row))
        shape, matrices = (units // groups, channels), window.kernel[0] * taps
        packing, panels = self._panels(
            [
                Packed(weights, group * shape[0], shape, (1, units), matrices, channels * units)
                for group in range(groups)
            ]
        )
        buffer = zeros((self.threads, block * bytes_of_row), "uint8")
        args = self._arguments(window, groups, out, panels, gradient, buffer)
        args[-2:] = [taps, channels]
        (down, _), (gap, _) = window.strides, window.dilation
        steps = gap // math.gcd(down, gap), down // math.gcd(down, gap)
        initial = np.zeros(self.products.vectors.panel // size, out.dtype)
        args += [*steps, block, span, initial, self.pieces_of(gradient, out)]
        read = [gradient, panels, buffer, initial]
        by_rows = [gradient, out]
        return [*packing, self.instruction("convolution_inputs", args, read, [out], by_rows)]

    def _panels(self, parts: Sequence[Packed]) -> tuple[list[Instruction], Array]:
        panel = self.products.vectors.panel
        (rows, columns), size = parts[0].shape, parts[0].weights.itemsize
        needed = parts[0].matrices * rows * -(-columns * size // panel) * panel
        panels = zeros((len(parts), needed), "uint8")
        instructions = []
        for part, target in zip(parts, panels, strict=True):
            start = part.weights.reshape(-1)[part.first :]
            strides = [stride * size for stride in part.strides]
            args = [size, rows, columns, start, *strides, target, part.matrices, part.step * size]
            instructions.append(Instruction("pack", args, [part.weights], [target], early=True))
        return instructions, panels

    def _padded(
        self, window: Window, x: Array, y: Array, images: int = 1, more: int = 0
    ) -> tuple[int, Array]:
        """Return the width of padded rows, and each thread's buffer for images and `more` bytes."""
        left, width, (_, needed) = window.padding[1], x.shape[2], window.span(y.shape)
        wide = width if left == 0 and needed <= width else max(left + width, needed)
        padded = images * x[0].nbytes // width * wide if wide > width else 0
        # The padding stays zero, since the kernels write only between it.
        return wide, zeros((self.threads, -(-(padded + more) // 64) * 64), "uint8")

    def _arguments(
        self, window: Window, groups: int, x: Array, weights: Array, y: Array, buffer: Array
    ) -> list[float | Array]:
        kernel_width, channels = window.kernel[1], x.shape[3] // groups
        of_groups = [channels, y.shape[3] // groups, groups]
        sizes = [*x.shape[:3], *of_groups, *y.shape[1:3], *window.kernel, *window.strides]
        arrays = [x, weights, y, buffer, buffer.nbytes // self.threads]
        is_run = groups == 1 and window.dilation[1] == 1  # Is a row of the kernel a run?
        parts = [1, kernel_width * channels] if is_run else [kernel_width, channels]
        return [*sizes, *window.padding, *window.dilation, x.itemsize, *arrays, *parts]


class Packed(NamedTuple):
    weights: Array
    first: int
    shape: tuple[int, int]
    strides: tuple[int, int]
    matrices: int
    """The number of matrices; `step` is the distance from a matrix to the next."""
    step: int


def flattened(window: Window, *images: Array) -> Sequence[Array]:
    """Put all pixels of an image in one row if the window is a single pixel that moves by one."""
    sizes = {each.shape[1:3] for each in images}
    if window != Window((1, 1), dilation=window.dilation) or len(sizes) > 1:
        return images
    return [each.reshape(len(each), 1, -1, each.shape[3]) for each in images]


def folds(pixel_bytes: int) -> bool:
    """Return whether a product for each pixel of the kernel would leave many lanes empty."""
    return pixel_bytes % BLOCK_BYTES > 0 and pixel_bytes < 4 * BLOCK_BYTES
