"""Sums over the rows of a matrix, and transposes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.blocks import block_of, block_size, load, store
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition
from gpunn.backends.numpy.compiled.kernels.pointers import integers
from gpunn.backends.numpy.compiled.kernels.vectors import I32, I64, VECTOR_BYTES, Lanes


@kernel
def sum_rows(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out to the sum of the rows of x; each thread sums some columns.

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
    context: Any,
    dtype: Any,
    source: Any,
    source_row: Any,
    rows: Any,
    columns: Any,
    target_address: Any,
    target_row: Any,
) -> Any:
    """Transpose a matrix with at most n rows and columns; row strides are in bytes.

    n is the length of a vector. Numbers outside the matrix are neither read nor written.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, source_row, row_count, columns, out, out_row = arguments
        lanes = Lanes(builder.module, target.get_data_type(dtype.dtype))
        n = lanes.count
        used, written = lanes.first(builder, columns), lanes.first(builder, row_count)
        rows = []
        for number in range(1, n + 1):
            rows.append(lanes.load(builder, source, 0, used))
            # Beyond the last row, read the last row again.
            more = builder.icmp_signed("<", I64(number), row_count)
            source = builder.select(more, builder.add(source, source_row), source)
        # Interleave rows i and i + n/2 to rows 2i and 2i + 1; log2(n) times, this transposes.
        low = [half for lane in range(n // 2) for half in (lane, n + lane)]
        high = [half + n // 2 for half in low]
        masks = [ir.Constant(ir.VectorType(I32, n), [I32(i) for i in m]) for m in (low, high)]
        for _ in range(n.bit_length() - 1):
            pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
            rows = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in masks]
        done = builder.append_basic_block("done")
        for number, row in enumerate(rows, 1):
            lanes.store(builder, row, out, 0, written)
            following = builder.append_basic_block("row")
            builder.cbranch(builder.icmp_signed("<", I64(number), columns), following, done)
            builder.position_at_end(following)
            out = builder.add(out, out_row)
        builder.branch(done)
        builder.position_at_end(done)
        return target.get_dummy_value()

    return types.void(dtype, *[types.int64] * 6), generate


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
    for row in range(0, rows, lanes):
        for column in range(0, columns, lanes):
            transpose_square(
                dtype,
                source + row * source_row + column * size,
                source_row,
                rows - row,
                columns - column,
                target + column * target_row + row * size,
                target_row,
            )
