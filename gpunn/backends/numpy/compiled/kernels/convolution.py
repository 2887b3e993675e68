"""The convolution of images and its gradients, computed in tiles that read images in place.

The patches along a row of an image are the rows of a matrix A. The patches overlap in memory,
because each patch begins one pixel after the previous patch. Tiles read A in place, by strides, so
patches are not copied. The terms of a product come in runs. Each row of the kernel is a run, after
which A continues in the next row of the image. With dilation along the rows, or with groups of
channels, each pixel of the kernel is a run.

Each thread computes some images. The weights are in panels (see `panels`).

The first arguments of all kernels:

* images, height and width of x; channels of x and units (channels of y) of a group; groups; rows
  and columns of y;
* height and width of the kernel; strides, padding and dilation, each down and right;
* size (bytes per number), x_ptr, weights_ptr, y_ptr;
* buffer_ptr, and the bytes of it that each thread has;
* the number of parts of a kernel row (1 if the row is a run), and how many numbers each part reads.

The last argument is the number of pieces into which each thread divides its images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.kernels.blocks import block_of, block_size, load, store
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, quotient
from gpunn.backends.numpy.compiled.kernels.panels import PANEL
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers
from gpunn.backends.numpy.compiled.kernels.pooling import clear
from gpunn.backends.numpy.compiled.kernels.tiles import TILE_ROWS, tile
from gpunn.backends.numpy.compiled.kernels.vectors import VECTOR_BYTES


@compiled
def inside(size: int, count: int, step: int, start: int) -> tuple[int, int]:
    """Return the first i < count with 0 <= start + i step < size, and the last such i plus 1."""
    first = quotient(max(0, step - 1 - start), step)
    return first, max(first, min(count, quotient(max(0, size - start + step - 1), step)))


@compiled
def tile_height(rows: int) -> int:
    """Return the height of tiles that divide rows into nearly equal parts."""
    tiles = max(1, quotient(rows + TILE_ROWS - 1, TILE_ROWS))
    return quotient(rows + tiles - 1, tiles)


@compiled
def multiply_runs(
    dtype: Any, size: int, a: int, a_row: int, a_column: int, a_gap: int, b: int, b_row: int,
    b_gap: int, initial: int, initial_row: int, c: int, c_row: int, terms: int, runs: int,
    floor: float, rows: int, height: int, columns: int,
) -> None:  # fmt: skip
    """Compute one panel of C by tiles of `height` rows; see `tile`.

    Each tile prefetches the next tile's part of C, which is written when all of its terms are
    added.
    """
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


@kernel
def convolution(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set y = max(bias + convolution of x, floor).

    If an image is padded on its sides, a buffer has a padded copy. The next arguments are the width
    of the copy, or of x without padding; bias_ptr, zero_ptr (1,), floor (float).
    """
    (pieces,) = integers(args, 28, 1)
    n, height, width, channels, units, groups, rows, columns = integers(args, 0, 8)
    kernel_h, kernel_w, down, right, top, left, down_gap, right_gap = integers(args, 8, 8)
    size, x, w, y, buffer, buffer_bytes, taps, terms, wide, bias, zero = integers(args, 16, 11)
    (floor,) = floats(args, 27, 1)
    pixel, y_pixel, group_bytes = groups * channels * size, groups * units * size, units * size
    row_bytes, kernel_row = wide * pixel, kernel_w * channels * PANEL
    own = buffer + quotient(thread, pieces) * buffer_bytes
    # A product adds all rows of the kernel, or else one row, whose pixels are apart.
    step, gap = kernel_h, down_gap * row_bytes - terms * size
    if taps > 1:
        step, gap = 1, right_gap * pixel - terms * size
    tall = tile_height(columns)
    first, last = partition(n, 1, thread, threads)
    for image in range(first, last):
        source, panel = x + image * height * width * pixel, w
        if wide > width:
            target, count = own + left * pixel, groups * channels * width
            copy_rows(dtype, source, width * pixel, target, row_bytes, height, count)
            source = own
        for group in range(groups):
            for column in range(0, group_bytes, PANEL):
                some = quotient(min(PANEL, group_bytes - column), size)
                at = group * group_bytes + column
                start = 0
                while start < kernel_h:
                    for row in range(rows):
                        above = row * down - top
                        begin, end = inside(height, kernel_h, down_gap, above)
                        ky, stop = max(begin, start), min(end, start + step)
                        a, a_row, a_column, a_gap = source, right * pixel, size, gap
                        a += (above + ky * down_gap) * row_bytes + group * channels * size
                        if begin == end and start == 0:  # All of the patch is padding.
                            a, a_row, a_column, a_gap, begin, end = zero, 0, 0, 0, 0, 1
                            ky, stop = begin, end
                        if ky >= stop:
                            continue
                        c = y + (image * rows + row) * columns * y_pixel + at
                        initial, initial_row = bias + at, 0
                        if ky > begin:
                            initial, initial_row = c, y_pixel
                        multiply_runs(
                            dtype, size, a, a_row, a_column, a_gap, panel + ky * kernel_row, PANEL,
                            0, initial, initial_row, c, y_pixel, terms, (stop - ky) * taps,
                            floor if stop == end else -np.inf, columns, tall, some,
                        )  # fmt: skip
                    start += step
                panel += kernel_h * kernel_row


@kernel
def convolution_weights(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set each thread's w to the gradient of the weights, summed over the thread's images.

    y is dL/d(result). C has a row for each number of a patch, and its terms are summed over pixels
    of y. A run is one row of pixels of an image.

    A buffer has copies of images (as in `convolution`) and a copy of a panel of y. The next
    arguments are the width of the copies; the numbers of images, rows and columns of y to process
    together; whether to copy y. Either the number of images or the number of rows is 1.
    """
    n, height, width, channels, units, groups, rows, columns = integers(args, 0, 8)
    kernel_h, _, down, right, top, left, down_gap, right_gap = integers(args, 8, 8)
    size, x, w, y, buffer, buffer_bytes, taps, patch, wide, images, block = integers(args, 16, 11)
    span, copies, pieces = integers(args, 27, 3)
    pixel, y_pixel, group_bytes = groups * channels * size, groups * units * size, units * size
    owner = quotient(thread, pieces)
    row_bytes, own = wide * pixel, buffer + owner * buffer_bytes
    x_jump, y_jump, panel, b_row = down * row_bytes, columns * y_pixel, own, y_pixel
    if images > 1:
        x_jump, y_jump = height * row_bytes, rows * columns * y_pixel
    if wide > width:
        panel += images * height * row_bytes
    if copies:
        b_row = PANEL
    count = kernel_h * taps * patch * groups * units
    w += owner * count * size
    if thread == owner * pieces:
        clear(dtype, w, 0, count)
    tall = tile_height(patch)
    image, last = partition(n, 1, thread, threads)
    while image < last:
        source, some_images, row = x + image * height * width * pixel, min(images, last - image), 0
        if wide > width:
            target, count = own + left * pixel, groups * channels * width
            copy_rows(dtype, source, width * pixel, target, row_bytes, some_images * height, count)
            source = own
        while row < rows:
            some_rows, pixels = min(block, rows - row), 0
            while pixels < columns:
                terms = min(span, columns - pixels)
                first_y = y + ((image * rows + row) * columns + pixels) * y_pixel
                for group in range(groups):
                    for column in range(0, group_bytes, PANEL):
                        some = quotient(min(PANEL, group_bytes - column), size)
                        at = group * group_bytes + column
                        b, b_jump = first_y + at, y_jump
                        if copies:
                            for i in range(max(some_rows, some_images)):
                                target = panel + i * terms * PANEL
                                start = b + i * y_jump
                                copy_rows(dtype, start, y_pixel, target, PANEL, terms, some)
                            b, b_jump = panel, terms * PANEL
                        for ky in range(kernel_h):
                            above = ky * down_gap - top
                            begin, end = inside(height, rows, down, above)
                            begin, end = max(begin, row), min(end, row + some_rows)
                            if begin >= end:
                                continue
                            a = source + (begin * down + above) * row_bytes
                            a += pixels * right * pixel + group * channels * size
                            for tap in range(taps):
                                c = w + (ky * taps + tap) * patch * y_pixel + at
                                multiply_runs(
                                    dtype, size, a + tap * right_gap * pixel, size, right * pixel,
                                    x_jump - terms * right * pixel, b + (begin - row) * b_jump,
                                    b_row, b_jump - terms * b_row, c, y_pixel, c, y_pixel, terms,
                                    max(end - begin, some_images), -np.inf, patch, tall, some,
                                )  # fmt: skip
                pixels += span
            row += block
        image += images


@kernel
def convolution_inputs(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set x to the gradient of a convolution's inputs; y is dL/d(result).

    For each row of x, the products sum over the units, and y is the matrix A. A run is a row of y
    whose windows contain the row of x. Each row of the kernel has `taps` parts, and each part has
    its own product. If a part is one pixel, the product is added to x directly. Otherwise x has few
    channels. The product is written to a buffer, and each row of the buffer is added to several
    pixels of x (see `fold`).

    For each group, row of the kernel and part, the weights have a matrix (units, numbers of a part)
    in panels. The next arguments are the distances between runs, in rows of y and in rows of the
    kernel; how many rows and pixels of x to process together; zeros_ptr. There is a zero for each
    column of a panel.
    """
    n, height, width, channels, units, groups, rows, columns = integers(args, 0, 8)
    kernel_h, kernel_w, down, right, top, left, down_gap, right_gap = integers(args, 8, 8)
    size, x, w, y, buffer, buffer_bytes, taps, patch, y_step, kernel_step = integers(args, 16, 10)
    block, span, zeros, pieces = integers(args, 26, 4)
    pixel, y_pixel, group_bytes = groups * channels * size, groups * units * size, patch * size
    own, x_row, tap_bytes = buffer + quotient(thread, pieces) * buffer_bytes, width * pixel, 0
    for _ in range(0, group_bytes, PANEL):
        tap_bytes += units * PANEL
    # If x is the result, it is also the initial value.
    reach, c_row, result_row, adds = 1, right * pixel, x_row, 1
    if buffer_bytes:
        reach, c_row, result_row, adds = kernel_w, group_bytes, quotient(buffer_bytes, block), 0
    first, last = partition(n, 1, thread, threads)
    for image in range(first, last):
        start = 0
        while start < height:
            some_rows, pixels = min(block, height - start), 0
            target = x + (image * height + start) * x_row
            while pixels < width:
                some_pixels, begin, end = min(span, width - pixels), 0, 0
                if adds:
                    clear(dtype, target, 0, some_rows * width * groups * channels)
                for part in range(groups * taps):
                    group = quotient(part, taps)
                    tap = part - group * taps
                    # Columns of y whose windows have some of the pixels.
                    place = tap * right_gap - left - pixels
                    begin, end = inside(some_pixels + reach - 1, columns, right, place + reach - 1)
                    tall = tile_height(end - begin)
                    c = own + adds * (target + (begin * right + place) * pixel - own)
                    c += group * channels * size
                    panel = w + (group * kernel_h * taps + tap) * tap_bytes
                    for column in range(0, group_bytes, PANEL):
                        some = quotient(min(PANEL, group_bytes - column), size)
                        for i in range(some_rows):
                            ky, bottom, runs = rows_read(
                                start + i + top, rows, kernel_h, down, down_gap, y_step, kernel_step
                            )
                            if runs <= 0:
                                continue
                            a = y + ((image * rows + bottom) * columns + begin) * y_pixel
                            at = c + i * result_row + column
                            multiply_runs(
                                dtype, size, a + group * units * size, y_pixel, size,
                                -y_step * columns * y_pixel - units * size,
                                panel + ky * taps * tap_bytes, PANEL,
                                kernel_step * taps * tap_bytes - units * PANEL,
                                zeros + adds * (at - zeros), adds * c_row, at, c_row, units, runs,
                                -np.inf, end - begin, tall, some,
                            )  # fmt: skip
                        panel += units * PANEL
                for i in range((1 - adds) * some_rows):
                    _, _, runs = rows_read(
                        start + i + top, rows, kernel_h, down, down_gap, y_step, kernel_step
                    )
                    fold(
                        dtype, own + i * result_row, channels, kernel_w, right, begin,
                        end if runs > 0 else begin, pixels + left,
                        target + i * x_row + pixels * pixel, some_pixels,
                    )  # fmt: skip
                pixels += span
            start += block


@compiled
def rows_read(
    place: int, rows: int, kernel_h: int, down: int, down_gap: int, y_step: int, kernel_step: int
) -> tuple[int, int, int]:
    """Return the rows of y whose windows contain row `place` of a padded image.

    The result has three numbers. Two belong to the lowest of these rows of y: the kernel's row that
    reads row `place`, and the row of y. The third is the number of rows. The rows have equal
    distances.
    """
    ky = quotient(max(0, place - (rows - 1) * down + down_gap - 1), down_gap)
    rest = place - ky * down_gap
    while rest >= 0 and ky < kernel_h:
        bottom = quotient(rest, down)
        if bottom * down == rest:
            runs = min(quotient(bottom, y_step), quotient(kernel_h - 1 - ky, kernel_step)) + 1
            return ky, bottom, runs
        ky += 1
        rest -= down_gap
    return 0, 0, 0


@compiled
def fold(
    dtype: Any, products: int, channels: int, kernel_w: int, right: int, begin: int, end: int,
    place: int, target: int, pixels: int,
) -> None:  # fmt: skip
    """Set each pixel of x to the sum of its products.

    The products have a row for each of the columns `begin` to `end` - 1 of y, and kernel_w *
    channels columns. `place` is the position of the first pixel in the padded row.
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
