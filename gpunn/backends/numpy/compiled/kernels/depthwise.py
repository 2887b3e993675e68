"""Depthwise convolution and its gradients; `gpunn.backends.window_operations` has the mathematics.

Each thread computes some images. The lanes of a block are channels.
"""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, where
from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_size,
    filled_like,
    load_half,
    multiply_add,
    store,
)
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, matrix, partition
from gpunn.backends.numpy.compiled.kernels.lanewise import lanewise
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers
from gpunn.backends.numpy.compiled.kernels.pooling import clear


@lanewise
def at_least(value: Number, floor: Number) -> Number:
    return where(value < floor, floor, value)


@compiled
def plus(dtype: Any, address: int, place: int, count: int, factor: Any, total: Any) -> Any:
    return multiply_add(load_half(dtype, address, place, count), factor, total)


@kernel
def depthwise(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = max(initial + sum of weights * x over the pixels of a window, floor).

    For each row of out, `rows_ptr` has three integers: the first row of x in the window, the number
    of rows in the window, and the first row of weights. For each column of out, `columns_ptr` has
    the same three integers for columns, and a fourth integer. The fourth integer is 1 if this
    column of out and the next three use the same weights.
    """
    x, weights, initial, out, images, size, line, channels = integers(args, 0, 8)
    rows_ptr, rows, columns_ptr, columns, down, across = integers(args, 8, 6)
    weights_down, weights_across, weights_line, stride = integers(args, 14, 4)
    (floor,) = floats(args, 18, 1)
    from_top, from_left = matrix(args, rows_ptr, rows, 3), matrix(args, columns_ptr, columns, 4)
    half = block_size(dtype) // 2
    first, last = partition(images, 1, thread, threads)
    at = first * rows * columns * channels
    for image in range(first, last):
        for i in range(rows):
            top = image * size + from_top[i, 0] * line
            for channel in range(0, channels, half):
                left = channels - channel
                bias = load_half(dtype, initial, channel, left)
                lowest = filled_like(bias, floor)
                j, to = 0, at + channel
                while j < columns:
                    of_four = from_left[j, 3]
                    corner = top + from_left[j, 0] * channels + channel
                    tap = from_top[i, 2] * weights_line + from_left[j, 2] * channels + channel
                    a = b = c = d = bias
                    for k in range(from_top[i, 1]):
                        for m in range(from_left[j, 1]):
                            at_weight = tap + k * weights_down + m * weights_across
                            weight = load_half(dtype, weights, at_weight, left)
                            place = corner + k * down + m * across
                            a = plus(dtype, x, place, left, weight, a)
                            if of_four:
                                b = plus(dtype, x, place + stride, left, weight, b)
                                c = plus(dtype, x, place + 2 * stride, left, weight, c)
                                d = plus(dtype, x, place + 3 * stride, left, weight, d)
                    store(at_least(a, lowest), out, to, left)
                    if of_four:
                        store(at_least(b, lowest), out, to + channels, left)
                        store(at_least(c, lowest), out, to + 2 * channels, left)
                        store(at_least(d, lowest), out, to + 3 * channels, left)
                        j, to = j + 4, to + 4 * channels
                    else:
                        j, to = j + 1, to + channels
            at += columns * channels


@kernel
def depthwise_weights(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set sums[thread] to the gradient of the weights, summed over the thread's images."""
    x, gradient, sums, images, height, width, channels, rows, columns = integers(args, 0, 9)
    taps_down, taps_across, down, across, top, left, gap_down, gap_across = integers(args, 9, 8)
    half, size = block_size(dtype) // 2, taps_down * taps_across * channels
    first, last = partition(images, 1, thread, threads)
    clear(dtype, sums, thread * size, (thread + 1) * size)
    for image in range(first, last):
        for i in range(rows):
            at = (image * rows + i) * columns * channels
            for k in range(taps_down):
                row = i * down - top + k * gap_down
                if row < 0 or row >= height:
                    continue
                line = (image * height + row) * width * channels
                for channel in range(0, channels, half):
                    count = channels - channel
                    for m in range(0, taps_across, 3):  # three at a time read the gradient once
                        to = thread * size + (k * taps_across + m) * channels + channel
                        # Past the end of the window, no numbers are read or written.
                        second = count if m + 1 < taps_across else 0
                        third = count if m + 2 < taps_across else 0
                        a = load_half(dtype, sums, to, count)
                        b = load_half(dtype, sums, to + channels, second)
                        c = load_half(dtype, sums, to + 2 * channels, third)
                        column = m * gap_across - left
                        for j in range(columns):
                            factor = load_half(dtype, gradient, at + j * channels + channel, count)
                            place = line + column * channels + channel
                            if 0 <= column < width:
                                a = plus(dtype, x, place, count, factor, a)
                            place += gap_across * channels
                            if 0 <= column + gap_across < width:
                                b = plus(dtype, x, place, second, factor, b)
                            place += gap_across * channels
                            if 0 <= column + 2 * gap_across < width:
                                c = plus(dtype, x, place, third, factor, c)
                            column += across
                        store(a, sums, to, count)
                        store(b, sums, to + channels, second)
                        store(c, sums, to + 2 * channels, third)
