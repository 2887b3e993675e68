"""Instructions for pooling, and for operations on the channels of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.interface import ACTIVATIONS, BLOCK_BYTES
from gpunn.backends.numpy.compiled.lowerings.base import Lowerings, Steps, same_kind
from gpunn.backends.numpy.compiled.lowerings.pixels import inside, read_by
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.recording import Arguments
from gpunn.backends.windows import Window
from gpunn.typing import Array, Shape

RELU = ACTIVATIONS.index("relu")


class Pooling(Lowerings):
    def max_pool(self, op: Arguments) -> Steps:
        return self._pool(op.x, op.window, op.out, True)

    def average_pool(self, op: Arguments) -> Steps:
        return self._pool(op.x, op.window, op.out, False)

    def _pool(self, x: Array, window: Window, out: Array, is_max: bool) -> Steps:
        args = [x, out, *places(x.shape, out.shape, window), is_max, *self._buffer(x)]
        args.append(self.pieces_of(x, out))
        return self._by_images("pool", args, [x], out)

    def max_pool_gradient(self, op: Arguments) -> Steps:
        read, shapes = [op.x, op.output, op.gradient], (op.out.shape, op.output.shape, op.window)
        in_one = in_one_window(*shapes)
        args = [*read, op.out, *places(*shapes), in_one, False, None]
        steps = self._by_images("max_pool_gradient", args, read, op.out)
        if steps is None or not in_one:
            return steps
        return [replace(one, then=partial(with_relu, one)) for one in steps]

    def average_pool_gradient(self, op: Arguments) -> Steps:
        return self._spread(op.gradient, op.window, op.out, True)

    def upsample(self, op: Arguments) -> Steps:
        height, width = (
            int(big // small) for big, small in zip(op.out.shape[1:3], op.x.shape[1:3], strict=True)
        )
        return self._spread(op.x, Window((height, width), (height, width)), op.out, False)

    def _spread(self, x: Array, window: Window, out: Array, is_shared: bool) -> Steps:
        shapes = out.shape, x.shape, window
        args = [x, out, *places(*shapes), is_shared, *self._buffer(out), in_one_window(*shapes)]
        args.append(self.pieces_of(x, out))
        return self._by_images("spread", args, [x], out)

    def multiply_channels(self, op: Arguments) -> Steps:
        (images, height, width, channels), read = op.x.shape, [op.x, op.factors]
        args = [*read, op.out, images, height * width, channels]
        return self._by_images("multiply_channels", args, read, op.out)

    def _by_images(self, kernel: str, args: list[Any], read: list[Array], out: Array) -> Steps:
        if not same_kind(*read, out) or not out.size:
            return None
        self.products.divide(out, False)
        return [self.instruction(kernel, args, read, [out], [*read, out])]

    def _buffer(self, images: Array) -> tuple[Array, int]:
        lanes = BLOCK_BYTES // images.itemsize
        size = (images.shape[2] * images.shape[3] // lanes + 2) * lanes
        return np.empty((self.threads, size), images.dtype), size


def with_relu(one: Instruction, following: Instruction) -> Instruction | None:
    """Combine `one`, which computes dL/dx, with the gradient of the ReLU that computed x.

    If `following` is not the gradient of this ReLU or cannot be combined, return None.
    """
    is_relu = following.kernel == "activation_gradient" and following.args[0] == RELU
    if not is_relu or memory_of(following.reads) != memory_of([one.reads[0], one.writes[-1]]):
        return None
    sums = following.writes[1:]
    if sums and one.kernel == "max_pool_gradient":
        return None
    args = [*one.args[:-2], True, sums[0] if sums else None]
    return replace(one, args=args, writes=[*one.writes, *sums], then=None)


def memory_of(arrays: Sequence[Array]) -> list[tuple[int, int]]:
    return [(address(each), int(each.nbytes)) for each in arrays]


def places(images: Shape, out: Shape, window: Window) -> list[Any]:
    rows, height, width, channels = images
    args: list[Any] = [rows, height * width * channels, width * channels, channels]
    for axis in (0, 1):
        count = out[1 + axis]
        args += [inside(read_by(window, axis, count), images[1 + axis]), count]
    return [*args, window.dilation[0] * width * channels, window.dilation[1] * channels]


def in_one_window(images: Shape, out: Shape, window: Window) -> bool:
    sizes = [size * count for size, count in zip(window.kernel, out[1:3], strict=True)]
    return window == Window(window.kernel, window.kernel) and sizes == list(images[1:3])
