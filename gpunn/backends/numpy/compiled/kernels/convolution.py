"""The convolution of images and its gradients, as matrix products without copies of patches.

The patches along a row of an image are the rows of a matrix A, which overlap in memory: each patch
begins one pixel after the previous patch. Tiles read A in place, by strides. The terms of a product
are divided into runs, for example a run for each row of the kernel. After a run, A continues in the
next row of the image.

A table lists the products of an image, and the steps before and after each product. So one kernel
computes the convolution and both gradients; `lowerings/convolution.py` writes the tables. Each
thread computes some images. The weights are in panels (see `panels`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.interface import (
    CLEAR,
    COPY_ROWS,
    IMAGE_STEP,
    INVERT,
    PRODUCT,
    TRANSFORM,
)
from gpunn.backends.numpy.compiled.kernels.blocks import block_of, block_size, load, store
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, quotient
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers, pointer
from gpunn.backends.numpy.compiled.kernels.pooling import clear
from gpunn.backends.numpy.compiled.kernels.tiles import tile
from gpunn.backends.numpy.compiled.kernels.vectors import VECTOR_BYTES
from gpunn.backends.numpy.compiled.kernels.winograd import invert, transform


@kernel
def convolution(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Run the steps of a table on each of a thread's images.

    A step begins with its kind, then the locations of the result C and the inputs A and B. A
    location is two numbers: the index of an array's address in `args`, and an offset in bytes.
    `args` ends with three numbers for each array: the address, the bytes of one image, and the
    bytes of one thread's part.
    """
    images, together, pieces, size = integers(args, 0, 4)
    (floor,) = floats(args, 4, 1)
    table, steps, cleared = integers(args, 5, 3)
    owner = quotient(thread, pieces)
    if thread == owner * pieces:
        clear(dtype, args[11] + owner * args[13], 0, cleared)
    image, last = partition(images, 1, thread, threads)
    while image < last:
        some = min(together, last - image)
        for step in range(steps):
            row = pointer(args, table + 8 * IMAGE_STEP * step)
            kind, in_c, c, in_a, a, in_b, b = integers(row, 0, 7)
            c += place(args, in_c, image, owner)
            if kind == CLEAR:
                (count,) = integers(row, 7, 1)
                clear(dtype, c, 0, count)
                continue
            a += place(args, in_a, image, owner)
            b += place(args, in_b, image, owner)
            if kind == COPY_ROWS:
                rows, count, a_row, c_row, jump = integers(row, 7, 5)
                for k in range(some):
                    copy_rows(
                        dtype, a + k * args[in_a + 1], a_row, c + k * jump, c_row, rows, count
                    )
            elif kind == PRODUCT:
                rows, height, columns, c_row, a_row, a_column, a_gap = integers(row, 7, 7)
                b_row, b_gap, terms, runs, in_initial, initial, has_floor = integers(row, 14, 7)
                initial_row = 0
                if in_initial:
                    initial += place(args, in_initial, image, owner)
                else:
                    initial, initial_row = c, c_row
                multiply_runs(
                    dtype, size, a, a_row, a_column, a_gap, b, b_row, b_gap, initial, initial_row,
                    c, c_row, terms, runs * some, floor if has_floor else -np.inf, rows, height,
                    columns,
                )  # fmt: skip
            elif kind == TRANSFORM:
                (jump,) = integers(row, 19, 1)
                for k in range(some):
                    transform(dtype, a + k * args[in_a + 1], b, c + k * jump, row)
            elif kind == INVERT:
                invert(dtype, a, b, floor, c, row)
            else:
                channels, kernel_w, right, begin, end, first, pixels = integers(row, 7, 7)
                fold(dtype, a, channels, kernel_w, right, begin, end, first, c, pixels)
        image += together


@compiled
def place(args: Any, memory: int, image: int, owner: int) -> int:
    return args[memory] + image * args[memory + 1] + owner * args[memory + 2]


@compiled
def multiply_runs(
    dtype: Any, size: int, a: int, a_row: int, a_column: int, a_gap: int, b: int, b_row: int,
    b_gap: int, initial: int, initial_row: int, c: int, c_row: int, terms: int, runs: int,
    floor: float, rows: int, height: int, columns: int,
) -> None:  # fmt: skip
    lanes = quotient(VECTOR_BYTES, size)
    vectors = quotient(columns + lanes - 1, lanes)
    while rows > 0:
        following = c + height * c_row
        tile(
            dtype, min(height, rows), vectors, a, a_row, a_column, b, b_row, following - b,
            initial, initial_row, c, c_row, terms, floor, columns - (vectors - 1) * lanes, runs,
            a_gap, b_gap,
        )  # fmt: skip
        a += height * a_row
        initial += height * initial_row
        c = following
        rows -= height


@compiled
def copy_rows(
    dtype: Any, source: int, source_row: int, target: int, target_row: int, rows: int, count: int
) -> None:
    for row in range(rows):
        origin, to = source + row * source_row, target + row * target_row
        for i in range(0, count, block_size(dtype)):
            store(load(dtype, origin, i, count - i), to, i, count - i)


@compiled
def fold(
    dtype: Any, products: int, channels: int, kernel_w: int, right: int, begin: int, end: int,
    place: int, target: int, pixels: int,
) -> None:  # fmt: skip
    """Set `pixels` neighboring pixels of a row of x to the sums of their products.

    `products` has a row of kernel_w * channels numbers for each of the columns `begin` to `end - 1`
    of y. `place` is the first pixel's position in the padded row of x.
    """
    column = min(quotient(place, right), end - 1)
    first = place - column * right  # the pixel of the kernel
    for pixel in range(pixels):
        for i in range(0, channels, block_size(dtype)):
            total = block_of(dtype, 0)
            kx, j = first, column
            while kx < kernel_w and j >= begin:
                index = ((j - begin) * kernel_w + kx) * channels + i
                total = total + load(dtype, products, index, channels - i)
                kx += right
                j -= 1
            store(total, target, pixel * channels + i, channels - i)
        first += 1
        if first == right and column < end - 1:
            first = 0
            column += 1
