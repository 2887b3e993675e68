"""Sums over the rows of a matrix, and transposes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.blocks import block_of, block_size, load, store
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition
from gpunn.backends.numpy.compiled.kernels.pointers import integers
from gpunn.backends.numpy.compiled.kernels.vectors import I32, VECTOR_BYTES, Lanes


@kernel
def sum_rows(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = sum of the rows of x. Each thread sums some columns, block by block.

    Arguments: x_ptr (rows, columns), out_ptr (columns,), rows, columns.
    """
    x, out, rows, columns = integers(args, 0, 4)
    lanes = block_size(dtype)
    begin, end = partition(columns, lanes, thread, threads)
    for column in range(begin, end, lanes):
        left = end - column
        total = block_of(dtype, 0)
        for row in range(rows):
            total = total + load(dtype, x, row * columns + column, left)
        store(total, out, column, left)


@intrinsic
def transpose_square(
    context: Any, dtype: Any, source: Any, source_row: Any, target_address: Any, target_row: Any
) -> Any:
    """Transpose n x n numbers, where n is the length of a vector; row strides are in bytes."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, source_row, out, out_row = arguments
        lanes = Lanes(builder.module, target.get_data_type(dtype.dtype))
        n = lanes.count
        rows = []
        for _ in range(n):
            rows.append(lanes.load(builder, source, 0))
            source = builder.add(source, source_row)
        # Interleave rows i and i + n/2 to rows 2i and 2i + 1. After log2(n) times it is transposed.
        low = [half for lane in range(n // 2) for half in (lane, n + lane)]
        high = [half + n // 2 for half in low]
        masks = [ir.Constant(ir.VectorType(I32, n), [I32(i) for i in m]) for m in (low, high)]
        for _ in range(n.bit_length() - 1):
            pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
            rows = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in masks]
        for row in rows:
            lanes.store(builder, row, out, 0)
            out = builder.add(out, out_row)
        return target.get_dummy_value()

    return types.void(dtype, *[types.int64] * 4), generate


@intrinsic
def move(context: Any, dtype: Any, source: Any, target_address: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = target.get_data_type(dtype.dtype).as_pointer()
        value = builder.load(builder.inttoptr(arguments[1], kind))
        builder.store(value, builder.inttoptr(arguments[2], kind))
        return target.get_dummy_value()

    return types.void(dtype, types.int64, types.int64), generate


@compiled
def transpose_matrix(
    dtype: Any,
    size: int,
    source: int,
    source_row: int,
    rows: int,
    columns: int,
    target: int,
    target_row: int,
) -> None:
    """Copy the transpose of a matrix (rows, columns); row strides are in bytes."""
    lanes = VECTOR_BYTES // size
    whole_rows, whole_columns = rows // lanes * lanes, columns // lanes * lanes
    for row in range(0, whole_rows, lanes):
        for column in range(0, whole_columns, lanes):
            transpose_square(
                dtype,
                source + row * source_row + column * size,
                source_row,
                target + column * target_row + row * size,
                target_row,
            )
    for row in range(rows):
        for column in range(whole_columns if row < whole_rows else 0, columns):
            address = source + row * source_row + column * size
            move(dtype, address, target + column * target_row + row * size)
