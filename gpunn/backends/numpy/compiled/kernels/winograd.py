"""Winograd's minimal filtering: 16 instead of 36 products for 2 x 2 pixels of a convolution.

These pixels, a tile, read 4 x 4 pixels d of the image. For a kernel g of 3 x 3 pixels, the tile is
A' ((G g G') * (B' d B)) A, where * multiplies elements and ' transposes. For all tiles, channels
and units, the products are 16 matrix products. B' computes `differences`, A' computes `sums`, and
`lowerings/winograd.py` has G. The gradients are transposed formulas. See Lavin & Gray 2015, "Fast
Algorithms for Convolutional Neural Networks" (arXiv 1509.09308), after Winograd 1980, "Arithmetic
Complexity of Computations".

Lanes are channels. `row` and `distance` are the bytes from a tile to the next, and from a matrix to
the next. The rows of matrices are filled up to whole half blocks.
"""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.kernels.blocks import block_size, filled_like, load_half, store
from gpunn.backends.numpy.compiled.kernels.depthwise import at_least
from gpunn.backends.numpy.compiled.kernels.kernel import compiled
from gpunn.backends.numpy.compiled.kernels.pointers import integers


@compiled
def differences(a: Any, b: Any, c: Any, d: Any) -> Any:
    return a - c, b + c, c - b, b - d


@compiled
def sums(a: Any, b: Any, c: Any, d: Any) -> Any:
    return (a + b) + c, (b - c) - d


@compiled
def transform(dtype: Any, x: int, zeros: int, target: int, step: Any) -> None:
    """Set 16 matrices to B' d B for rows * columns tiles. The first d begins at pixel (top, left).

    Pixels outside the image (height, width) count as 0, and so do the outer `margin` rows and
    columns of each d. `zeros` is the address of zeros, as many as in half a block.
    """
    rows, columns, top, left, height, width, pixel = integers(step, 7, 7)
    line, channels, margin, row, distance = integers(step, 14, 5)
    for i in range(top, top + 2 * rows, 2):
        begin, end = max(margin, -i), min(4 - margin, height - i)
        for j in range(left, left + 2 * columns, 2):
            first, last = max(margin, -j), min(4 - margin, width - j)
            at, to = x + i * line + j * pixel, target
            for count in range(channels, 0, -(block_size(dtype) // 2)):
                a = row_of(dtype, at, pixel, zeros, count, begin <= 0 < end, first, last)
                b = row_of(dtype, at + line, pixel, zeros, count, begin <= 1 < end, first, last)
                c = row_of(dtype, at + 2 * line, pixel, zeros, count, begin <= 2 < end, first, last)
                d = row_of(dtype, at + 3 * line, pixel, zeros, count, begin <= 3 < end, first, last)
                put_column(dtype, differences(a[0], b[0], c[0], d[0]), to, distance)
                put_column(dtype, differences(a[1], b[1], c[1], d[1]), to + distance, distance)
                put_column(dtype, differences(a[2], b[2], c[2], d[2]), to + 2 * distance, distance)
                put_column(dtype, differences(a[3], b[3], c[3], d[3]), to + 3 * distance, distance)
                at, to = at + BLOCK_BYTES // 2, to + BLOCK_BYTES // 2
            target += row


@compiled
def row_of(
    dtype: Any, x: int, pixel: int, zeros: int, count: int, inside: bool, first: int, last: int
) -> Any:
    # Choosing addresses takes no branches.
    return differences(
        load_half(dtype, x if inside and first <= 0 < last else zeros, 0, count),
        load_half(dtype, x + pixel if inside and first <= 1 < last else zeros, 0, count),
        load_half(dtype, x + 2 * pixel if inside and first <= 2 < last else zeros, 0, count),
        load_half(dtype, x + 3 * pixel if inside and first <= 3 < last else zeros, 0, count),
    )


@compiled
def put_column(dtype: Any, column: Any, target: int, distance: int) -> None:
    half = block_size(dtype) // 2
    store(column[0], target, 0, half)
    store(column[1], target + 4 * distance, 0, half)
    store(column[2], target + 8 * distance, 0, half)
    store(column[3], target + 12 * distance, 0, half)


@compiled
def invert(dtype: Any, products: int, initial: int, floor: float, y: int, step: Any) -> None:
    """Set y (height, width) to max(initial + A' products A, floor) for rows * columns tiles."""
    rows, columns, height, width, pixel, line, numbers = integers(step, 7, 7)
    row, distance = integers(step, 14, 2)
    for i in range(0, 2 * rows, 2):
        for j in range(0, 2 * columns, 2):
            at = products
            for channel in range(0, numbers, block_size(dtype) // 2):
                count, to = numbers - channel, i * line + j * pixel + channel
                a, b = column_of(dtype, at, distance), column_of(dtype, at + distance, distance)
                c = column_of(dtype, at + 2 * distance, distance)
                d = column_of(dtype, at + 3 * distance, distance)
                bias = load_half(dtype, initial, channel, count)
                lowest, second = filled_like(bias, floor), count if j + 1 < width else 0
                above, below = sums(a[0], b[0], c[0], d[0]), sums(a[1], b[1], c[1], d[1])
                store(at_least(above[0] + bias, lowest), y, to, count)
                store(at_least(above[1] + bias, lowest), y, to + pixel, second)
                if i + 1 < height:
                    store(at_least(below[0] + bias, lowest), y, to + line, count)
                    store(at_least(below[1] + bias, lowest), y, to + line + pixel, second)
                at += BLOCK_BYTES // 2
            products += row


@compiled
def column_of(dtype: Any, products: int, distance: int) -> Any:
    half = block_size(dtype) // 2
    return sums(
        load_half(dtype, products, 0, half),
        load_half(dtype, products + 4 * distance, 0, half),
        load_half(dtype, products + 8 * distance, 0, half),
        load_half(dtype, products + 12 * distance, 0, half),
    )
