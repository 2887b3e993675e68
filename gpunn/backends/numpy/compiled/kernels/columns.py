"""Sums over the rows of a matrix, and transposes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.kernels.blocks import block_of, block_size, load, store
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition
from gpunn.backends.numpy.compiled.kernels.pointers import integers
from gpunn.backends.numpy.compiled.kernels.vectors import I32, I64, VECTOR_BYTES, Lanes, declared


@kernel
def sum_rows(dtype: Any, args: Any, thread: int, threads: int) -> None:
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
    """Transpose a matrix of at most n rows and n columns, where n is the lane count of a vector."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.call(square(builder.module, target.get_data_type(dtype.dtype)), arguments[1:])
        return target.get_dummy_value()

    return types.void(dtype, *[types.int64] * 6), generate


def square(module: ir.Module, number: ir.Type) -> ir.Function:
    return declared(module, f"gpunn_square_{number}", ir.VoidType(), [I64] * 6)


def define_square(module: ir.Module, number: ir.Type) -> str:
    function = square(module, number)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    source, source_row, row_count, columns, out, out_row = function.args
    lanes = Lanes(module, number)
    n = lanes.count
    used, written = lanes.first(builder, columns), lanes.first(builder, row_count)
    rows = []
    for count in range(1, n + 1):
        rows.append(lanes.load(builder, source, 0, used))
        # Beyond the last row, read the last row again.
        more = builder.icmp_signed("<", I64(count), row_count)
        source = builder.select(more, builder.add(source, source_row), source)
    # Exchange each bit of the row numbers with the same bit of the column numbers: first within 16
    # bytes, then between them. Processors have fast instructions for both.
    inner = 16 // lanes.size
    for unit, group in ((1, inner), (inner, n)):
        firsts = [first for start in range(0, n, group) for first in (start, n + start)]
        lane_numbers = [first + lane for first in firsts for lane in range(group)]
        masks = [
            ir.VectorType(I32, n)([I32(lane) for lane in lane_numbers if lane // unit % 2 == odd])
            for odd in (0, 1)
        ]
        for bit in (unit << k for k in range((group // unit).bit_length() - 1)):
            for row in (row for row in range(n) if not row & bit):
                pair = rows[row], rows[row | bit]
                rows[row], rows[row | bit] = (builder.shuffle_vector(*pair, m) for m in masks)
    done = function.append_basic_block("done")
    for count, row in enumerate(rows, 1):
        lanes.store(builder, row, out, 0, written)
        following = function.append_basic_block("row")
        builder.cbranch(builder.icmp_signed("<", I64(count), columns), following, done)
        builder.position_at_end(following)
        out = builder.add(out, out_row)
    builder.branch(done)
    ir.IRBuilder(done).ret_void()
    return str(function.name)


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
    source: int,
    source_row: int,
    rows: int,
    columns: int,
    target: int,
    target_row: int,
) -> None:
    size = BLOCK_BYTES // block_size(dtype)
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
