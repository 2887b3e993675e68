"""Matrix products C = A B by tiles.

A is (m, k), B (k, n) and C (m, n). Libraries for large matrices first reorder the operands, which
saves time if each element is used often. In training, an operand is often a batch of a few dozen
rows, and reading the operands directly is faster. A tile is a part of C in registers, where bias
and ReLU are also applied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from gpunn.backends.numpy.compiled.interface import (
    COUNT,
    DOTS,
    FIRST_SLOT,
    GRADIENTS,
    MAX_ARGS,
    PACKED,
    ROW_VECTORS,
    SECOND_SLOT,
    TILE_VECTORS,
    TRANSPOSED_PANELS,
    TRANSPOSED_PRODUCT,
    VALUES,
    P,
)
from gpunn.backends.numpy.compiled.kernels.activations import RELU, derivative_of
from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    load,
    multiply_add,
    store,
    sum_of,
)
from gpunn.backends.numpy.compiled.kernels.columns import transpose_matrix
from gpunn.backends.numpy.compiled.kernels.kernel import (
    compiled,
    kernel,
    partition,
    quotient,
    vector,
)
from gpunn.backends.numpy.compiled.kernels.panels import PANEL
from gpunn.backends.numpy.compiled.kernels.pointers import call, copy_bytes, floats, integers
from gpunn.backends.numpy.compiled.kernels.tiles import TILE_ROWS, tile
from gpunn.backends.numpy.compiled.kernels.vectors import VECTOR_BYTES

FLOOR = P.floor


@compiled
def multiply_tiles(
    dtype: Any,
    size: int,
    a: int,
    a_row: int,
    a_column: int,
    b: int,
    b_row: int,
    b_panel: int,
    initial: int,
    initial_row: int,
    c: int,
    c_row: int,
    terms: int,
    floor: float,
    rows: int,
    left: int,
    right: int,
    runs: int,
    a_gap: int,
    b_gap: int,
) -> None:
    """Compute C[:rows, left:right]; column `left` is the first column of a panel of B."""
    lanes, panel = quotient(VECTOR_BYTES, size), quotient(PANEL, size)
    width = lanes * (ROW_VECTORS if rows == 1 and b_panel == PANEL else TILE_VECTORS)
    # All tiles have nearly equal heights; otherwise, the last tile might have one row.
    heights = quotient(rows + TILE_ROWS - 1, TILE_ROWS)
    height = quotient(rows, max(heights, 1))
    higher = rows - height * heights
    column = left
    while column < right:
        columns = min(width, right - column)
        vectors = quotient(columns + lanes - 1, lanes)
        at, start = column * size, 0
        for block in range(heights):
            stop = start + height + int(block < higher)
            tile(
                dtype,
                stop - start,
                vectors,
                a + start * a_row,
                a_row,
                a_column,
                b + quotient(column, panel) * b_panel,
                b_row,
                b_panel if block == 0 else 0,
                initial + start * initial_row + at,
                initial_row,
                c + start * c_row + at,
                c_row,
                terms,
                floor,
                columns - (vectors - 1) * lanes,
                runs,
                a_gap,
                b_gap,
            )
            start = stop
        column += width


@kernel
def product(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set C = max(initial + A B, floor), then run `update`, if any; see `interface.ProductArgs`."""
    method = carray(args, MAX_ARGS)[P.method]
    if method == TRANSPOSED_PANELS:
        by_transposed_panels(dtype, args, thread, threads)
    elif method == TRANSPOSED_PRODUCT:
        by_transposed_product(dtype, args, thread, threads)
    elif method == DOTS:
        by_scalar_products(dtype, args, thread, threads)
    else:
        by_tiles(dtype, args, thread, threads)


@compiled
def thread_block(w: Any, thread: int, threads: int) -> tuple[int, int, int, int]:
    first, last, left, right = 0, w[P.m], 0, w[P.n]
    if w[P.by_terms]:
        pass
    elif w[P.by_columns]:
        left, right = partition(w[P.n], PANEL // w[P.size], thread, threads)
    else:
        first, last = partition(w[P.m], 1, thread, threads)
    return first, last, left, right


@compiled
def thread_terms(w: Any, thread: int, threads: int) -> tuple[int, int]:
    if w[P.by_terms]:
        first, last = partition(w[P.k], 1, thread, threads)
        return first, last - first
    return 0, w[P.k]


@compiled
def by_tiles(dtype: Any, args: Any, thread: int, threads: int) -> None:
    w = carray(args, MAX_ARGS)
    size, buffer = w[P.size], w[P.buffer] + thread * w[P.buffer_bytes]
    first, last, left, right = thread_block(w, thread, threads)
    term, terms = thread_terms(w, thread, threads)
    while first < last and left < right:
        rows = min(w[P.rows], last - first)
        a, a_row, a_column = w[P.a] + first * w[P.a_row], w[P.a_row], w[P.a_column]
        c = w[P.c] + first * w[P.c_row]
        if w[P.by_terms]:
            c += thread * w[P.c_thread]
        elif w[P.c_thread]:
            c = w[P.c] + thread * w[P.c_thread]
        if w[P.method] == PACKED:
            # If the row stride is a power of two, rows would evict each other from the cache.
            copy_across(dtype, size, a, a_row, a_column, rows, w[P.k], buffer)
            a, a_row, a_column = buffer, size, rows * size
        multiply_terms(
            dtype, args, a + term * a_column, a_row, a_column, w[P.b] + term * w[P.b_row],
            w[P.b_row], w[P.b_panel], w[P.initial], c, w[P.c_row], terms, rows, left, right,
        )  # fmt: skip
        if w[P.update]:
            update_args = w[P.args_buffer] + thread * MAX_ARGS * 8
            number, count = first * w[P.n], rows * w[P.n]
            update_rows(args, update_args, w[P.update], w[P.update_args], c, number, count, size)
        first += rows


@compiled
def by_transposed_panels(dtype: Any, args: Any, thread: int, threads: int) -> None:
    w = carray(args, MAX_ARGS)
    size, buffer = w[P.size], w[P.buffer] + thread * w[P.buffer_bytes]
    first, last, left, right = thread_block(w, thread, threads)
    a, c = w[P.a] + first * w[P.a_row], w[P.c] + first * w[P.c_row]
    column = left
    while first < last and column < right:
        columns = min(PANEL // size, right - column)
        b = w[P.b] + column * w[P.b_column]
        transpose_matrix(dtype, b, w[P.b_column], columns, w[P.k], buffer, PANEL)
        at = column * size
        multiply_terms(
            dtype, args, a, w[P.a_row], w[P.a_column], buffer, PANEL, PANEL, w[P.initial] + at,
            c + at, w[P.c_row], w[P.k], last - first, 0, columns,
        )  # fmt: skip
        column += columns


@compiled
def by_transposed_product(dtype: Any, args: Any, thread: int, threads: int) -> None:
    w = carray(args, MAX_ARGS)
    size, m, buffer = w[P.size], w[P.m], w[P.buffer] + thread * w[P.buffer_bytes]
    left, right = partition(w[P.n], PANEL // size, thread, threads)
    while left < right:
        rows = min(w[P.rows], right - left)
        multiply_terms(
            dtype, args, w[P.b] + left * w[P.b_column], w[P.b_column], w[P.b_row], w[P.a],
            w[P.a_row], w[P.b_panel], w[P.initial], buffer, m * size, w[P.k], rows, 0, m,
        )  # fmt: skip
        transpose_matrix(dtype, buffer, m * size, rows, m, w[P.c] + left * size, w[P.c_row])
        left += rows


@compiled
def by_scalar_products(dtype: Any, args: Any, thread: int, threads: int) -> None:
    w = carray(args, MAX_ARGS)
    m, n, k, a = w[P.m], w[P.n], w[P.k], w[P.a]
    columns = w[P.b]
    if n > 1:
        columns = w[P.buffer] + thread * w[P.buffer_bytes]
        b, copy = vector(dtype, w[P.b], k * n), vector(dtype, columns, n * k)
        for term in range(k):
            for j in range(n):
                copy[j * k + term] = b[term * n + j]
    first, last = partition(m, 1, thread, threads)
    lanes = block_size(dtype)
    initial, c = vector(dtype, w[P.initial], n), vector(dtype, w[P.c], m * n)
    (argument,) = floats(args, FLOOR, 1)
    floor = c.dtype.type(argument)
    for row in range(first, last, 4):
        # If fewer than four rows are left, the last row is computed several times.
        end = last - 1
        second, third, fourth = min(row + 1, end), min(row + 2, end), min(row + 3, end)
        for j in range(n):
            sum_1 = sum_2 = sum_3 = sum_4 = block_of(dtype, 0)
            for i in range(0, k, lanes):
                left = k - i
                b = load(dtype, columns, j * k + i, left)
                sum_1 = multiply_add(load(dtype, a, row * k + i, left), b, sum_1)
                sum_2 = multiply_add(load(dtype, a, second * k + i, left), b, sum_2)
                sum_3 = multiply_add(load(dtype, a, third * k + i, left), b, sum_3)
                sum_4 = multiply_add(load(dtype, a, fourth * k + i, left), b, sum_4)
            c[row * n + j] = not_below(initial[j] + sum_of(sum_1), floor)
            c[second * n + j] = not_below(initial[j] + sum_of(sum_2), floor)
            c[third * n + j] = not_below(initial[j] + sum_of(sum_3), floor)
            c[fourth * n + j] = not_below(initial[j] + sum_of(sum_4), floor)


@kernel
def one_output_gradient(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set all gradients of a dense layer with one output in one pass over the layer's input x.

    If of_relu is 1, then x = ReLU(z), and input_gradient is set to dL/dz instead of dL/dx.
    """
    if thread == 0:
        x, gradient_ptr, weights, weight_gradient, bias_gradient = integers(args, 0, 5)
        input_gradient, rows, columns, of_relu, sums = integers(args, 5, 5)
        gradient, zero = vector(dtype, gradient_ptr, rows), block_of(dtype, 0)
        lanes = block_size(dtype)
        for column in range(0, columns, lanes):
            left = columns - column
            weight, total, total_of_input = load(dtype, weights, column, left), zero, zero
            total_of_bias = gradient.dtype.type(0)
            for row in range(rows):
                at, slope = row * columns + column, block_of(dtype, gradient[row])
                total_of_bias += gradient[row]
                value = load(dtype, x, at, left)
                total = multiply_add(value, slope, total)
                change = multiply_add(slope, weight, zero)  # as in a tile, -0.0 becomes 0.0
                if of_relu != 0:
                    change = change * derivative_of(RELU, value, zero, zero)[0]
                    total_of_input = total_of_input + change
                store(change, input_gradient, at, left)
            store(total, weight_gradient, column, left)
            vector(dtype, bias_gradient, 1)[0] = total_of_bias
            if sums != 0:
                store(total_of_input, sums, column, left)


@compiled
def not_below(number: Any, floor: Any) -> Any:
    return floor if number < floor else number


@compiled
def multiply_terms(
    dtype: Any,
    args: Any,
    a: int,
    a_row: int,
    a_column: int,
    b: int,
    b_row: int,
    b_panel: int,
    initial: int,
    c: int,
    c_row: int,
    k: int,
    rows: int,
    left: int,
    right: int,
) -> None:
    w = carray(args, MAX_ARGS)
    (floor,) = floats(args, FLOOR, 1)
    blocks = (k + w[P.terms] - 1) // w[P.terms]
    for block in range(blocks):
        term, end = k * block // blocks, k * (block + 1) // blocks
        multiply_tiles(
            dtype, w[P.size], a + term * a_column, a_row, a_column, b + term * b_row, b_row,
            b_panel, c if block else initial, c_row if block else 0, c, c_row, end - term,
            floor if end == k else -np.inf, rows, left, right, 1, 0, 0,
        )  # fmt: skip


@compiled
def copy_across(
    dtype: Any, size: int, a: int, a_row: int, a_column: int, rows: int, columns: int, target: int
) -> None:
    if a_row != size:
        transpose_matrix(dtype, a, a_row, rows, columns, target, rows * size)
        return
    for column in range(columns):
        copy_bytes(target + column * rows * size, a + column * a_column, rows * size)


@compiled
def update_rows(
    args: Any,
    args_buffer: int,
    kernel: int,
    update_args: int,
    gradients: int,
    first: int,
    count: int,
    size: int,
) -> None:
    """Call an optimizer's kernel for `count` parameters from index `first` on."""
    copy_bytes(args_buffer, update_args, MAX_ARGS * 8)
    w = vector(args, args_buffer, MAX_ARGS)
    w[VALUES] += first * size
    if w[FIRST_SLOT] != 0:
        w[FIRST_SLOT] += first * size
    if w[SECOND_SLOT] != 0:
        w[SECOND_SLOT] += first * size
    w[GRADIENTS] = gradients
    w[COUNT] = count
    call(kernel, args_buffer, 0, 1)
