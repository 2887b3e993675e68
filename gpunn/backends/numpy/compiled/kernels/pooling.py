"""Pooling of images, and its gradients; `gpunn.backends.window_operations` has the mathematics.

Each thread computes some images. Windows are reduced first along the height, for whole rows of
pixels, then along the width, where lanes are channels. With fewer channels than lanes, the other
lanes hold numbers of the next pixels. The results of these lanes are stored, and then overwritten
by the results of the next pixels.

Common arguments: there are `images` images, with `size` numbers in an image, `line` in a row of
pixels and `channels` in a pixel. For each row of windows, `rows_ptr (rows, 3)` begins with the
first row of pixels and the number of rows of pixels, without padding. `columns_ptr (columns, 3)`
has the same numbers for each column of windows. In a window, two rows of pixels are `down` numbers
apart, and two pixels `across` numbers. `in_one` is 1 if each pixel is in exactly one window.
"""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, where
from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    filled_like,
    load,
    load_half,
    store,
)
from gpunn.backends.numpy.compiled.kernels.kernel import (
    compiled,
    kernel,
    matrix,
    partition,
    quotient,
)
from gpunn.backends.numpy.compiled.kernels.lanewise import lanewise
from gpunn.backends.numpy.compiled.kernels.pointers import integers


@lanewise
def larger(a: Number, b: Number) -> Number:
    return where(a.equals(a), where(a > b, a, b), a)


@lanewise
def where_equal(a: Number, b: Number, there: Number, elsewhere: Number) -> Number:
    return where(a.equals(b), there, elsewhere)


@lanewise
def times_slope(gradient: Number, a: Number) -> Number:
    """Return gradient * f'(z) for f = ReLU; `a` is f(z).

    If the gradient is NaN or infinite, the result is never 0.
    """
    return gradient * where(a > 0, a.like(1), 0)


@compiled
def clear(dtype: Any, address: int, first: int, last: int) -> None:
    for i in range(first, last, block_size(dtype)):
        store(block_of(dtype, 0), address, i, last - i)


@kernel
def multiply_channels(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, factors, out, images, pixels, channels = integers(args, 0, 6)
    first, last = partition(images, 1, thread, threads)
    for image in range(first, last):
        for channel in range(0, channels, block_size(dtype)):
            left = channels - channel
            factor = load(dtype, factors, image * channels + channel, left)
            for pixel in range(image * pixels, (image + 1) * pixels):
                at = pixel * channels + channel
                store(load(dtype, x, at, left) * factor, out, at, left)


@kernel
def pool(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, out, images, size, line, channels = integers(args, 0, 6)
    rows_ptr, rows, columns_ptr, columns, down, across, is_max = integers(args, 6, 7)
    buffer, buffer_size, pieces = integers(args, 13, 3)
    from_top, from_left = matrix(args, rows_ptr, rows, 3), matrix(args, columns_ptr, columns, 3)
    lanes, own = block_size(dtype), quotient(thread, pieces) * buffer_size
    half = lanes // 2
    first, last = partition(images, 1, thread, threads)
    at, end = first * rows * columns * channels, last * rows * columns * channels
    for image in range(first, last):
        for i in range(rows):
            height = from_top[i, 1]
            top = image * size + from_top[i, 0] * line
            for p in range(0, line, lanes):
                value = load(dtype, x, top + p, line - p)
                for k in range(1, height):
                    other = load(dtype, x, top + k * down + p, line - p)
                    value = larger(value, other) if is_max else value + other
                store(value, buffer, own + p, lanes)
            for j in range(columns):
                width = from_left[j, 1]
                left = own + from_left[j, 0] * channels
                for channel in range(0, channels, half):
                    result = load_half(dtype, buffer, left + channel, half)
                    for m in range(1, width):
                        part = load_half(dtype, buffer, left + m * across + channel, half)
                        result = larger(result, part) if is_max else result + part
                    if not is_max:
                        result = result / filled_like(result, height * width)
                    store(result, out, at + channel, end - at - channel)
                at += channels


@kernel
def max_pool_gradient(dtype: Any, args: Any, thread: int, threads: int) -> None:
    # If is_relu is 1, x is the output of a ReLU, and out becomes the gradient of the ReLU's input.
    x, output, gradient, out, images, size, line, channels = integers(args, 0, 8)
    rows_ptr, rows, columns_ptr, columns, down, across, in_one, is_relu = integers(args, 8, 8)
    from_top, from_left = matrix(args, rows_ptr, rows, 3), matrix(args, columns_ptr, columns, 3)
    half = block_size(dtype) // 2
    first, last = partition(images, 1, thread, threads)
    at, end = first * rows * columns * channels, last * rows * columns * channels
    spills = in_one and channels <= half
    for image in range(first, last):
        if not in_one:
            clear(dtype, out, image * size, (image + 1) * size)
        for i in range(rows):
            for j in range(columns):
                corner = image * size + from_top[i, 0] * line + from_left[j, 0] * channels
                reach = line - from_left[j, 0] * channels
                for channel in range(0, channels, half):
                    y = load_half(dtype, output, at + channel, end - at - channel)
                    rest = load_half(dtype, gradient, at + channel, end - at - channel)
                    zero = filled_like(y, 0)
                    for k in range(from_top[i, 1]):
                        for m in range(from_left[j, 1]):
                            place = corner + k * down + m * across + channel
                            left = reach - m * across if spills else channels - channel
                            value = load_half(dtype, x, place, left)
                            share = where_equal(value, y, rest, zero)
                            rest = where_equal(value, y, zero, rest)
                            if is_relu:
                                share = times_slope(share, value)
                            if not in_one:
                                share = share + load_half(dtype, out, place, left)
                            store(share, out, place, left)
                at += channels


@kernel
def spread(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set all numbers of `out` to 0, then add x[i, j] to each pixel of window (i, j).

    If `is_shared`, x[i, j] is first divided by the number of these pixels.
    """
    x, out, images, size, line, channels = integers(args, 0, 6)
    rows_ptr, rows, columns_ptr, columns, down, across, is_shared = integers(args, 6, 7)
    buffer, buffer_size, in_one, pieces = integers(args, 13, 4)
    from_top, from_left = matrix(args, rows_ptr, rows, 3), matrix(args, columns_ptr, columns, 3)
    lanes, own = block_size(dtype), quotient(thread, pieces) * buffer_size
    half = lanes // 2
    first, last = partition(images, 1, thread, threads)
    at, end = first * rows * columns * channels, last * rows * columns * channels
    for image in range(first, last):
        if not in_one:
            clear(dtype, out, image * size, (image + 1) * size)
        for i in range(rows):
            height, top = from_top[i, 1], image * size + from_top[i, 0] * line
            if not in_one:
                clear(dtype, buffer, own, own + line)
            for j in range(columns):
                width, left = from_left[j, 1], own + from_left[j, 0] * channels
                for channel in range(0, channels, half):
                    share = load_half(dtype, x, at + channel, end - at - channel)
                    if is_shared:
                        share = share / filled_like(share, height * width)
                    count = half if in_one and channels <= half else channels - channel
                    for m in range(width):
                        place = left + m * across + channel
                        if in_one:
                            store(share, buffer, place, count)
                        else:
                            before = load_half(dtype, buffer, place, count)
                            store(before + share, buffer, place, count)
                at += channels
            for p in range(0, line, lanes):
                share = load(dtype, buffer, own + p, lanes)
                for k in range(height):
                    place = top + k * down + p
                    if in_one:
                        store(share, out, place, line - p)
                    else:
                        store(load(dtype, out, place, line - p) + share, out, place, line - p)
