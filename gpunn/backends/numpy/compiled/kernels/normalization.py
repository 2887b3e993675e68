"""Batch and layer normalization and their gradients; `gpunn.backends.operations` has formulas."""

from __future__ import annotations

import math
from typing import Any

from gpunn.backends.numpy.compiled.kernels.blocks import (
    ROWS,
    block_of,
    block_size,
    load,
    multiply_add,
    only_first,
    square_root,
    store,
    sum_of,
)
from gpunn.backends.numpy.compiled.kernels.depthwise import at_least
from gpunn.backends.numpy.compiled.kernels.kernel import (
    compiled,
    kernel,
    partition,
    thread_part,
    vector,
)
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers


@kernel
def normalize(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, mean, variance, scale, shift, factors, out, rows, columns = integers(args, 0, 9)
    (multiple,), (epsilon,) = integers(args, 9, 1), floats(args, 10, 1)
    lanes, offset = block_size(dtype), thread * columns
    for i in range(0, columns, lanes):
        left = columns - i
        std = square_root(load(dtype, variance, i, left) + block_of(dtype, epsilon))
        store(load(dtype, scale, i, left) / std, factors, offset + i, left)
    begin, end = partition(rows, multiple, thread, threads)
    for row in range(begin, end):
        start = row * columns
        for i in range(0, columns, lanes):
            left = columns - i
            centered = load(dtype, x, start + i, left) - load(dtype, mean, i, left)
            factor, term = load(dtype, factors, offset + i, left), load(dtype, shift, i, left)
            store(multiply_add(centered, factor, term), out, start + i, left)


@kernel
def layer_norm(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, scale, shift, normalized, inverse_std, out, rows, columns = integers(args, 0, 8)
    (epsilon,) = floats(args, 8, 1)
    inverses = vector(dtype, inverse_std, rows)
    T = inverses.dtype.type
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        start = row * columns
        total = block_of(dtype, 0)
        for i in range(0, columns, lanes):
            total = total + load(dtype, x, start + i, columns - i)
        mean = block_of(dtype, sum_of(total) / T(columns))
        squares = block_of(dtype, 0)
        for i in range(0, columns, lanes):
            centered = only_first(load(dtype, x, start + i, columns - i) - mean, columns - i)
            squares = multiply_add(centered, centered, squares)
        inverses[row] = T(1) / math.sqrt(sum_of(squares) / T(columns) + T(epsilon))
        inverse = block_of(dtype, inverses[row])
        for i in range(0, columns, lanes):
            left = columns - i
            value = (load(dtype, x, start + i, left) - mean) * inverse
            store(value, normalized, start + i, left)
            scaled = multiply_add(load(dtype, scale, i, left), value, load(dtype, shift, i, left))
            store(scaled, out, start + i, left)


@kernel
def layer_norm_gradient(dtype: Any, args: Any, thread: int, threads: int) -> None:
    gradient, normalized, inverse_std, scale, sums, rows, columns = integers(args, 0, 7)
    inverses = vector(dtype, inverse_std, rows)
    T = inverses.dtype.type
    lanes = block_size(dtype)
    of_scale, of_shift = thread * columns, (threads + thread) * columns
    for i in range(0, columns, lanes):
        store(block_of(dtype, 0), sums, of_scale + i, columns - i)
        store(block_of(dtype, 0), sums, of_shift + i, columns - i)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        start = row * columns
        total = along = block_of(dtype, 0)
        for i in range(0, columns, lanes):
            left = columns - i
            g, n = load(dtype, gradient, start + i, left), load(dtype, normalized, start + i, left)
            total_scale = multiply_add(g, n, load(dtype, sums, of_scale + i, left))
            store(total_scale, sums, of_scale + i, left)
            store(load(dtype, sums, of_shift + i, left) + g, sums, of_shift + i, left)
            h = load(dtype, scale, i, left) * g
            total = total + h
            along = multiply_add(h, n, along)
        mean = block_of(dtype, sum_of(total) / T(columns))
        slope = block_of(dtype, -sum_of(along) / T(columns))
        inverse = block_of(dtype, inverses[row])
        for i in range(0, columns, lanes):
            left = columns - i
            h = load(dtype, scale, i, left) * load(dtype, gradient, start + i, left)
            n = load(dtype, normalized, start + i, left)
            store(inverse * multiply_add(n, slope, h - mean), gradient, start + i, left)


FIRST_ROWS = 64
"""Number of rows whose mean is the center in `column_moments`."""


@compiled
def sum_over_rows(dtype: Any, x: int, sums: int, offset: int, columns: int, part: Any) -> None:
    first, last, begin, end = part
    lanes = block_size(dtype)
    for top in range(first, last, ROWS):
        bottom = min(top + ROWS, last)
        for column in range(begin, end, lanes):
            left = end - column
            result = block_of(dtype, 0)
            if top > first:
                result = load(dtype, sums, offset + column, left)
            for row in range(top, bottom):
                result = result + load(dtype, x, row * columns + column, left)
            store(result, sums, offset + column, left)


@kernel
def column_sums(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, sums, rows, columns, multiple = integers(args, 0, 5)
    part = thread_part(rows, columns, multiple, thread, threads)
    sum_over_rows(dtype, x, sums, thread * columns, columns, part)


@kernel
def column_moments(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Compute a center of each column, and the sums of x - center and (x - center)^2 over the rows.

    The center is the mean of the first FIRST_ROWS rows of the thread's part. Without a center, sums
    lose digits if means are large.
    """
    x, moments, rows, columns, multiple = integers(args, 0, 5)
    part = thread_part(rows, columns, multiple, thread, threads)
    centers = 3 * thread * columns if multiple < 0 else 0
    first, last, begin, end = part
    some = min(last - first, FIRST_ROWS)
    sum_over_rows(dtype, x, moments, centers, columns, (first, first + some, begin, end))
    lanes, count = block_size(dtype), block_of(dtype, some)
    for column in range(begin, end, lanes):
        left = end - column
        center = load(dtype, moments, centers + column, left) / count
        store(center, moments, centers + column, left)
    for top in range(first, last, ROWS):
        bottom = min(top + ROWS, last)
        for column in range(begin, end, lanes):
            left, at = end - column, centers + columns + column
            center = load(dtype, moments, centers + column, left)
            deviations = squares = block_of(dtype, 0)
            if top > first:
                deviations = load(dtype, moments, at, left)
                squares = load(dtype, moments, at + columns, left)
            for row in range(top, bottom):
                off = load(dtype, x, row * columns + column, left) - center
                deviations = deviations + off
                squares = multiply_add(off, off, squares)
            store(deviations, moments, at, left)
            store(squares, moments, at + columns, left)


@kernel
def batch_norm_statistics(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Compute mean, inverse_std and the running averages of each column from `column_moments`.

    The variance loses few digits even if the mean is large (Chan, Golub & LeVeque 1983).
    `column_moments` may have treated `joined` rows as one row. Then there are `joined` sets of
    moments for each column, in each part of the rows.
    """
    moments, parts, joined, running_mean, running_variance, mean = integers(args, 0, 6)
    inverse_std, rows, columns, multiple = integers(args, 6, 4)
    momentum, epsilon = floats(args, 10, 2)
    lanes, every, width = block_size(dtype), block_of(dtype, rows * joined), joined * columns
    old, new = block_of(dtype, momentum), block_of(dtype, 1 - momentum)
    zero, two = block_of(dtype, 0), block_of(dtype, 2)
    begin, end = partition(columns, lanes, thread, threads)
    for column in range(begin, end, lanes):
        left = end - column
        total = squares = zero
        origin = load(dtype, moments, column, left)
        for part in range(parts):
            first, last, _, _ = thread_part(rows, 0, multiple, part, parts)
            count = block_of(dtype, last - first)
            for at in range(3 * part * width + column, (3 * part + 1) * width, columns):
                off = load(dtype, moments, at, left) - origin
                total = total + multiply_add(count, off, load(dtype, moments, at + width, left))
        center = origin + total / every
        for part in range(parts):
            first, last, _, _ = thread_part(rows, 0, multiple, part, parts)
            count = block_of(dtype, last - first)
            for at in range(3 * part * width + column, (3 * part + 1) * width, columns):
                off = load(dtype, moments, at, left) - center
                twice = two * load(dtype, moments, at + width, left)
                own = load(dtype, moments, at + 2 * width, left)
                squares = squares + multiply_add(off, multiply_add(count, off, twice), own)
        variance = at_least(squares, zero) / every  # rounding may make it negative
        std = square_root(variance + block_of(dtype, epsilon))
        store(center, mean, column, left)
        store(block_of(dtype, 1) / std, inverse_std, column, left)
        average = multiply_add(old, load(dtype, running_mean, column, left), new * center)
        store(average, running_mean, column, left)
        average = multiply_add(old, load(dtype, running_variance, column, left), new * variance)
        store(average, running_variance, column, left)


@kernel
def batch_norm(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, mean, inverse_std, scale, shift, out, activated = integers(args, 0, 7)
    rows, columns, multiple = integers(args, 7, 3)
    lanes, zero = block_size(dtype), block_of(dtype, 0)
    first, last, begin, end = thread_part(rows, columns, multiple, thread, threads)
    for top in range(first, last, ROWS):
        bottom = min(top + ROWS, last)
        for column in range(begin, end, lanes):
            left = end - column
            center = load(dtype, mean, column, left)
            inverse = load(dtype, inverse_std, column, left)
            factor, term = load(dtype, scale, column, left), load(dtype, shift, column, left)
            for row in range(top, bottom):
                at = row * columns + column
                value = (load(dtype, x, at, left) - center) * inverse
                value = multiply_add(factor, value, term)
                if out != 0:
                    store(value, out, at, left)
                if activated != 0:
                    store(at_least(value, zero), activated, at, left)


@kernel
def batch_norm_gradient(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set the gradients of scale and shift; with is_last = 1, change `gradient` to dL/dx."""
    gradient, x, mean, inverse_std, scale, scale_gradient, shift_gradient = integers(args, 0, 7)
    rows, columns, multiple, is_last = integers(args, 7, 4)
    lanes, share = block_size(dtype), block_of(dtype, 1 / rows)
    first, last, begin, end = thread_part(rows, columns, multiple, thread, threads)
    offset = thread * columns if multiple < 0 and not is_last else 0
    for top in range(first, last, ROWS):
        bottom = min(top + ROWS, last)
        for column in range(begin, end, lanes):
            left = end - column
            of_scale = of_shift = block_of(dtype, 0)
            center = load(dtype, mean, column, left)
            inverse = load(dtype, inverse_std, column, left)
            if is_last or top > first:
                of_scale = load(dtype, scale_gradient, offset + column, left)
                of_shift = load(dtype, shift_gradient, offset + column, left)
            average, along = share * of_shift, share * of_scale
            factor = load(dtype, scale, column, left) * inverse
            for row in range(top, bottom):
                at = row * columns + column
                g = load(dtype, gradient, at, left)
                n = (load(dtype, x, at, left) - center) * inverse
                if is_last:
                    store(factor * (g - average - n * along), gradient, at, left)
                else:
                    of_scale = multiply_add(g, n, of_scale)
                    of_shift = of_shift + g
            if not is_last:
                store(of_scale, scale_gradient, offset + column, left)
                store(of_shift, shift_gradient, offset + column, left)
