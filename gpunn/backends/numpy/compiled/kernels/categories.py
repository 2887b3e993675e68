"""Categories: one-hot outputs, embeddings, and copies of columns."""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.kernels.blocks import block_of, block_size, load, store
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, vector
from gpunn.backends.numpy.compiled.kernels.pointers import copy_bytes, integers


@compiled
def row_of(code: float, size: int) -> int:
    return int(code) if code >= 0 and code < size else 0


@kernel
def copy_columns(dtype: Any, args: Any, thread: int, threads: int) -> None:
    source, first, source_columns, out, out_first, out_columns, rows, columns = integers(args, 0, 8)
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        origin, target = row * source_columns + first, row * out_columns + out_first
        for column in range(0, columns, lanes):
            left = columns - column
            store(load(dtype, source, origin + column, left), out, target + column, left)


@kernel
def one_hot(dtype: Any, args: Any, thread: int, threads: int) -> None:
    codes_ptr, sizes_ptr, shared_ptr, levels_ptr, out_ptr = integers(args, 0, 5)
    rows, columns, outputs, row_bytes = integers(args, 5, 4)
    codes = vector(dtype, codes_ptr, rows * columns)
    sizes, shared = vector(args, sizes_ptr, columns), vector(args, shared_ptr, columns)
    levels, out = vector(dtype, levels_ptr, 3 * outputs), vector(dtype, out_ptr, rows * outputs)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        at, position = row * outputs, 0
        copy_bytes(out_ptr + row * row_bytes, levels_ptr, row_bytes)
        for column in range(columns):
            code, size = codes[row * columns + column], sizes[column]
            category = row_of(code, size)
            if category > 0 and category == code:
                if shared[column] == 0:
                    on = position + category - 1
                    out[at + on] = levels[outputs + on]
                else:
                    out[at + position] = levels[category * outputs + position]
            position += 1 if shared[column] else size - 1


@kernel
def embed(dtype: Any, args: Any, thread: int, threads: int) -> None:
    codes_ptr, sizes_ptr, starts_ptr, table_ptr, out_ptr = integers(args, 0, 5)
    rows, columns, row_bytes = integers(args, 5, 3)
    codes, sizes = vector(dtype, codes_ptr, rows * columns), vector(args, sizes_ptr, columns)
    starts = vector(args, starts_ptr, columns)
    begin, end = partition(rows * columns, columns, thread, threads)
    for position in range(begin, end):
        column = position % columns
        origin = (starts[column] + row_of(codes[position], sizes[column])) * row_bytes
        copy_bytes(out_ptr + position * row_bytes, table_ptr + origin, row_bytes)


@kernel
def embed_gradient(dtype: Any, args: Any, thread: int, threads: int) -> None:
    codes_ptr, sizes_ptr, starts_ptr, gradient_ptr, out_ptr = integers(args, 0, 5)
    rows, columns, dimension, table_rows = integers(args, 5, 4)
    codes, sizes = vector(dtype, codes_ptr, rows * columns), vector(args, sizes_ptr, columns)
    starts = vector(args, starts_ptr, columns)
    lanes = block_size(dtype)
    begin, end = partition(table_rows, 1, thread, threads)
    zero = block_of(dtype, 0)
    for i in range(begin * dimension, end * dimension, lanes):
        store(zero, out_ptr, i, end * dimension - i)
    for position in range(rows * columns):
        column = position % columns
        target = starts[column] + row_of(codes[position], sizes[column])
        if begin <= target < end:
            for i in range(0, dimension, lanes):
                left, at = dimension - i, target * dimension + i
                more = load(dtype, gradient_ptr, position * dimension + i, left)
                store(load(dtype, out_ptr, at, left) + more, out_ptr, at, left)
