"""Convolution of images and its gradients, by tiles that read the images where they are.

The patches along a row of an image are a matrix in memory whose rows overlap: each begins a pixel
after the previous one. A tile reads A by strides, so no patches are copied. The terms of a product
come in runs: a row of the kernel is a run, after which A jumps to the next row of the image. With
dilation along the rows, or with groups of channels, each pixel of the kernel is a run instead.

Each thread computes some images. The weights are in panels (see `panels`).

The first arguments of all kernels: images, height, width, channels of x; units (channels of y),
groups, rows, columns of y; kernel height and width; strides, padding and dilation, each down and
right; size (bytes per number); x_ptr (images, height, width, channels), weights_ptr, y_ptr (images,
rows, columns, units); taps (1 if a row of the kernel is a run, else its width).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, vector
from gpunn.backends.numpy.compiled.kernels.panels import PANEL
from gpunn.backends.numpy.compiled.kernels.pointers import copy_bytes, floats, integers
from gpunn.backends.numpy.compiled.kernels.products import multiply_tiles


@compiled
def inside(size: int, count: int, step: int, start: int) -> tuple[int, int]:
    """Return the first i, and the last + 1, of those i < count with 0 <= start + i step < size."""
    first = max(0, (step - 1 - start) // step)
    return first, max(first, min(count, (size - start + step - 1) // step))


@compiled
def copy_between(target: int, source: int, rows: int, row_bytes: int, target_row: int) -> None:
    """Copy the rows of an image to rows that are longer, whose ends are padding."""
    for row in range(rows):
        copy_bytes(target + row * target_row, source + row * row_bytes, row_bytes)


@compiled
def clear(dtype: Any, address: int, count: int) -> None:
    """Set `count` numbers to 0."""
    numbers = vector(dtype, address, count)
    for i in range(count):
        numbers[i] = 0


@kernel
def convolution(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set y = max(bias + convolution of x, floor).

    More arguments: the width of a padded row; buffer_ptr, and its bytes for each thread, which hold
    an image if the padded row is wider; bias_ptr (units,), zero_ptr (1,), floor (float).
    """
    n, height, width, channels, units, groups, rows, columns = integers(args, 0, 8)
    kernel_h, kernel_w, down, right, top, left, down_gap, right_gap = integers(args, 8, 8)
    size, x, w, y, taps, wide, buffer, buffer_bytes, bias, zero = integers(args, 16, 10)
    (floor,) = floats(args, 26, 1)
    pixel, run, own = channels * size, channels // groups * (kernel_w // taps), buffer
    group_bytes, kernel_row = units // groups * size, kernel_w * (channels // groups) * PANEL
    own += thread * buffer_bytes
    first, last = partition(n, 1, thread, threads)
    for image in range(first, last):
        source, row_bytes = x + image * height * width * pixel, wide * pixel
        if buffer_bytes:
            copy_between(own + left * pixel, source, height, width * pixel, row_bytes)
            source = own
        panel = w
        for group in range(groups):
            for column in range(0, group_bytes, PANEL):
                some = min(PANEL, group_bytes - column) // size
                at = group * group_bytes + column
                for row in range(rows):
                    above = row * down - top
                    begin, end = inside(height, kernel_h, down_gap, above)
                    a = source + (above + begin * down_gap) * row_bytes
                    a += group * (channels // groups) * size
                    a_column, terms, parts, runs = size, run, end - begin, kernel_w
                    a_gap = right_gap * pixel - run * size
                    if begin == end:  # all of the patch is padding
                        a, a_column, terms, parts, runs = zero, 0, 1, 1, 1
                    elif taps == 1:
                        parts, runs, a_gap = 1, end - begin, down_gap * row_bytes - run * size
                    b = panel + begin * kernel_row
                    c = y + (image * rows + row) * columns * units * size + at
                    for part in range(parts):
                        multiply_tiles(
                            dtype, size, a, 0 if begin == end else right * pixel, a_column,
                            b, PANEL, 0, bias + at if part == 0 else c,
                            0 if part == 0 else units * size, c, units * size, terms,
                            floor if part == parts - 1 else -np.inf, columns, 0, some,
                            runs, a_gap, 0,
                        )  # fmt: skip
                        a += down_gap * row_bytes
                        b += kernel_row
                panel += kernel_h * kernel_row


@kernel
def convolution_weights(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set each thread's w to the gradient of weights, summed over the thread's images.

    y is dL/d(result). The rows of C are numbers of a patch, and the terms are pixels of y: a run is
    a row of one image, or the same row of several images.

    More arguments: the width of a padded row; buffer_ptr, and its bytes for each thread, which hold
    padded images and a panel of y; how many images, rows and columns of y to process together, of
    which images or rows are 1.
    """
    n, height, width, channels, units, groups, rows, columns = integers(args, 0, 8)
    kernel_h, kernel_w, down, right, top, left, down_gap, right_gap = integers(args, 8, 8)
    size, x, w, y, taps, wide, buffer, buffer_bytes, images, block, span = integers(args, 16, 11)
    pixel, run = channels * size, channels // groups * (kernel_w // taps)
    group_bytes, y_pixel, row_bytes = units // groups * size, units * size, wide * pixel
    own = buffer + thread * buffer_bytes
    count = kernel_h * kernel_w * (channels // groups) * units
    w += thread * count * size
    clear(dtype, w, count)
    first, last = partition(n, 1, thread, threads)
    for image in range(first, last, images):
        some_images = min(images, last - image)
        source, panel = x + image * height * width * pixel, own
        if wide > width:
            panel += images * height * row_bytes
            copy_between(own + left * pixel, source, some_images * height, width * pixel, row_bytes)
            source = own
        for row in range(0, rows, block):
            for pixels in range(0, columns, span):
                terms, some_rows = min(span, columns - pixels), min(block, rows - row)
                first_y = y + ((image * rows + row) * columns + pixels) * y_pixel
                y_gap = (columns * (rows if images > 1 else 1) - terms) * y_pixel
                for group in range(groups):
                    for column in range(0, group_bytes, PANEL):
                        some = min(PANEL, group_bytes - column)
                        at = group * group_bytes + column
                        b, b_row, b_gap = first_y + at, y_pixel, y_gap
                        if y_pixel > PANEL:
                            for i in range(some_images if images > 1 else some_rows):
                                start = b + i * (terms * y_pixel + y_gap)
                                for term in range(terms):
                                    to = panel + (i * terms + term) * PANEL
                                    copy_bytes(to, start + term * y_pixel, some)
                            b, b_row, b_gap = panel, PANEL, 0
                        for ky in range(kernel_h):
                            above = ky * down_gap - top
                            begin, end = inside(height, rows, down, above)
                            begin, end = max(begin, row), min(end, row + some_rows)
                            if begin >= end:
                                continue
                            a = source + (begin * down + above) * row_bytes
                            a += pixels * right * pixel + group * (channels // groups) * size
                            a_gap = down * row_bytes - terms * right * pixel
                            runs = end - begin
                            if images > 1:
                                a_gap, runs = (
                                    height * row_bytes - terms * right * pixel,
                                    some_images,
                                )
                            for tap in range(taps):
                                c = w + (ky * taps + tap) * run * y_pixel + at
                                multiply_tiles(
                                    dtype, size, a + tap * right_gap * pixel, size, right * pixel,
                                    b + (begin - row) * (terms * b_row + b_gap), b_row, 0,
                                    c, y_pixel, c, y_pixel, terms, -np.inf, run, 0, some // size,
                                    runs, a_gap, b_gap,
                                )  # fmt: skip


@kernel
def convolution_inputs(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set x to the gradient of a convolution's inputs; y is dL/d(result).

    For each row of x and each column of the kernel, a product adds to pixels of the row. Its terms
    are the units, and a run is a row of y that the pixels are read for. The weights are a matrix
    (units of a group, channels of a group) in panels for each group and each pixel of the kernel.

    More arguments: rows of y from a run to the next, rows of the kernel from a run to the next;
    how many rows of x to process together.
    """
    n, height, width, channels, units, groups, rows, columns = integers(args, 0, 8)
    kernel_h, kernel_w, down, right, top, left, down_gap, right_gap = integers(args, 8, 8)
    size, x, w, y, _, y_step, kernel_step, block = integers(args, 16, 8)
    pixel, y_pixel, terms = channels * size, units * size, units // groups
    group_bytes = channels // groups * size
    panel_bytes = terms * PANEL
    tap_bytes = (group_bytes + PANEL - 1) // PANEL * panel_bytes
    first, last = partition(n, 1, thread, threads)
    for image in range(first, last):
        for start in range(0, height, block):
            some_rows = min(block, height - start)
            first_x = x + (image * height + start) * width * pixel
            clear(dtype, first_x, some_rows * width * channels)
            for group in range(groups):
                for kx in range(kernel_w):
                    place = kx * right_gap - left
                    begin, end = inside(width, columns, right, place)
                    if begin == end:
                        continue
                    for column in range(0, group_bytes, PANEL):
                        some = min(PANEL, group_bytes - column) // size
                        panel = w + (group * kernel_h * kernel_w + kx) * tap_bytes
                        panel += column // PANEL * panel_bytes
                        at = group * group_bytes + column + (begin * right + place) * pixel
                        for i in range(some_rows):
                            # Row `bottom` of y is the last that the kernel reads this row for.
                            row = start + i + top
                            ky = max(0, (row - (rows - 1) * down + down_gap - 1) // down_gap)
                            while ky < kernel_h and (row - ky * down_gap) % down != 0:
                                ky += 1
                            bottom = (row - ky * down_gap) // down
                            runs = min(bottom // y_step, (kernel_h - 1 - ky) // kernel_step) + 1
                            if ky >= kernel_h or runs < 1:
                                continue
                            a = y + ((image * rows + bottom) * columns + begin) * y_pixel
                            c = first_x + i * width * pixel + at
                            multiply_tiles(
                                dtype, size, a + group * terms * size, y_pixel, size,
                                panel + ky * kernel_w * tap_bytes, PANEL, 0,
                                c, right * pixel, c, right * pixel, terms, -np.inf, end - begin,
                                0, some, runs, -y_step * columns * y_pixel - terms * size,
                                kernel_step * kernel_w * tap_bytes - panel_bytes,
                            )  # fmt: skip
