"""Count updates and passes, gather the next rows, fill and add arrays."""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.kernels.blocks import block_size, load, store
from gpunn.backends.numpy.compiled.kernels.columns import move
from gpunn.backends.numpy.compiled.kernels.kernel import (
    kernel,
    partition,
    quotient,
    scalar,
    slice_of,
    vector,
)
from gpunn.backends.numpy.compiled.kernels.pointers import copy_bytes, floats, integers, prefetch

LINE = 64
"""Bytes in a cache line."""

AHEAD = 4
"""Rows are prefetched this number of rows ahead, since shuffled rows are at random addresses."""


@kernel
def gather(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out[i] = source[order[start + i]]; the elements may have any data type."""
    source_ptr, order_ptr, start_ptr, out_ptr, rows, row_bytes = integers(args, 0, 6)
    begin, end = partition(rows, 1, thread, threads)
    out, order = out_ptr + begin * row_bytes, order_ptr + 8 * (scalar(args, start_ptr) + begin)
    last = order + 8 * (end - begin - 1)
    lanes = block_size(dtype)
    size = BLOCK_BYTES // lanes
    # Vectors take less time than a call of memcpy. They copy the bits of any type.
    numbers = quotient(row_bytes, size)
    whole = quotient(numbers, lanes) * lanes
    left = numbers - whole
    for place in range(order, last + 8, 8):
        source = source_ptr + scalar(args, place) * row_bytes
        if row_bytes == size:  # such as targets
            move(dtype, source, out)
        elif row_bytes == 8:  # such as labels
            move(args, source, out)
        elif numbers * size != row_bytes:
            copy_bytes(out, source, row_bytes)
        else:
            coming = source_ptr + scalar(args, min(place + 8 * AHEAD, last)) * row_bytes
            for i in range(0, whole, lanes):
                prefetch(coming + i * size)
                prefetch(coming + i * size + LINE)
                store(load(dtype, source, i, lanes), out, i, lanes)
            if left > 0:
                prefetch(coming + whole * size)
                prefetch(coming + row_bytes - 1)
                store(load(dtype, source, whole, left), out, whole, left)
        out += row_bytes


@kernel
def append(dtype: Any, args: Any, thread: int, threads: int) -> None:
    if thread == 0:
        position_ptr, rows, copies_ptr, arrays = integers(args, 0, 4)
        position = vector(args, position_ptr, 1)
        copies = vector(args, copies_ptr, 3 * arrays)
        for index in range(0, 3 * arrays, 3):
            row_bytes = copies[index + 2]
            target = copies[index + 1] + position[0] * row_bytes
            copy_bytes(target, copies[index], rows * row_bytes)
        position[0] += rows


@kernel
def count_pass(dtype: Any, args: Any, thread: int, threads: int) -> None:
    if thread == 0:
        start_ptr, rows, passes_ptr = integers(args, 0, 3)
        vector(args, start_ptr, 1)[0] += rows
        vector(args, passes_ptr, 1)[0] += 1


@kernel
def count_update(dtype: Any, args: Any, thread: int, threads: int) -> None:
    if thread == 0:
        rates_ptr, position_ptr, rate_ptr, updates_ptr = integers(args, 0, 4)
        weight_ptr, loss_sum_ptr, weight_sum_ptr, finite_steps_ptr = integers(args, 4, 4)
        position = vector(args, position_ptr, 1)
        vector(dtype, rate_ptr, 1)[0] = vector(dtype, rates_ptr, position[0] + 1)[position[0]]
        position[0] += 1
        vector(args, updates_ptr, 1)[0] += 1
        vector(dtype, weight_sum_ptr, 1)[0] += scalar(dtype, weight_ptr)
        loss_sum = scalar(dtype, loss_sum_ptr)
        if loss_sum - loss_sum == 0:  # neither infinite nor NaN
            vector(dtype, finite_steps_ptr, 1)[0] += 1


@kernel
def fill(dtype: Any, args: Any, thread: int, threads: int) -> None:
    out_ptr, size = integers(args, 0, 2)
    (number,) = floats(args, 2, 1)
    begin, end = partition(size, LINE, thread, threads)
    out = slice_of(dtype, out_ptr, size, begin, end)
    value = out.dtype.type(number)
    for i in range(end - begin):
        out[i] = value


@kernel
def add(dtype: Any, args: Any, thread: int, threads: int) -> None:
    values_ptr, out_ptr, size = integers(args, 0, 3)
    begin, end = partition(size, LINE, thread, threads)
    values = slice_of(dtype, values_ptr, size, begin, end)
    out = slice_of(dtype, out_ptr, size, begin, end)
    for i in range(end - begin):
        out[i] += values[i]
