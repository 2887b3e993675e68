"""Sums of vectors."""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    load,
    multiply_add,
    sum_of,
)
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, vector
from gpunn.backends.numpy.compiled.kernels.pointers import integers


@compiled
def sum_of_row(dtype: Any, address: int, first: int, size: int) -> Any:
    total = block_of(dtype, 0)
    for i in range(0, size, block_size(dtype)):
        total = total + load(dtype, address, first + i, size - i)
    return sum_of(total)


@kernel
def sum_up(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """In thread 0, set out[0] to sum_i weights_i * values_i, or add this sum to out[0]."""
    if thread == 0:
        values, weights, size, out_ptr, is_added = integers(args, 0, 5)
        total = block_of(dtype, 0)
        for i in range(0, size, block_size(dtype)):
            left = size - i
            value, weight = load(dtype, values, i, left), block_of(dtype, 1)
            if weights != 0:
                weight = load(dtype, weights, i, left)
            total = multiply_add(value, weight, total)
        out = vector(dtype, out_ptr, 1)
        out[0] = sum_of(total) + (out[0] if is_added != 0 else 0)


@kernel
def add_at(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Add weights[i] to out[j, indices[j, i]] for all i and j; skip NaN and invalid indices."""
    indices_ptr, weights_ptr, columns, rows, out_ptr, size = integers(args, 0, 6)
    indices = vector(dtype, indices_ptr, columns * rows)
    weights, out = vector(dtype, weights_ptr, rows), vector(dtype, out_ptr, columns * size)
    begin, end = partition(columns, 1, thread, threads)
    for j in range(begin, end):
        for i in range(rows):
            index = indices[j * rows + i]
            if 0 <= index < size:  # processors convert NaN to different integers
                out[j * size + int(index)] += weights[i]
