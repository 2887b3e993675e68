"""Sums over the rows of a matrix, a vector of columns at a time; and transposes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, slice_of
from gpunn.backends.numpy.compiled.kernels.pointers import integers
from gpunn.backends.numpy.compiled.kernels.vectors import I32, I64, VECTOR_BYTES, Lanes

__all__ = ["transpose_matrix"]

MOST_ROWS, STREAMED = 32, 1 << 16
"""Rows that are summed together, and the bytes of these, at most: few enough for the cache, and for
the processor to fetch ahead, which the rows of a whole batch are not."""


def over_rows(target: Any, builder: Any, dtype: Any, arguments: Any, rectified: bool) -> Any:
    """Generate a loop over rows that sums a vector of columns, after ReLU's gradient if asked."""
    _, output, gradient, rows, row_bytes, columns, total = arguments
    lanes = Lanes(builder.module, target.get_data_type(dtype.dtype))
    mask = lanes.first(builder, columns)
    ones = ir.Constant(lanes.vector, [lanes.number(1)] * lanes.count)
    running = cgutils.alloca_once_value(builder, lanes.zeros)
    wanted = builder.icmp_signed("!=", total, I64(0))
    with builder.if_then(wanted):
        builder.store(lanes.load(builder, total, 0, mask), running)
    with cgutils.for_range(builder, rows) as loop:
        offset = builder.mul(loop.index, row_bytes)
        place = builder.add(gradient, offset)
        value = lanes.load(builder, place, 0, mask)
        if rectified:
            a = lanes.load(builder, builder.add(output, offset), 0, mask)
            positive = builder.fcmp_ordered(">", a, lanes.zeros)
            # As a product, so that NaN and infinity show as they do elsewhere.
            value = builder.fmul(value, builder.select(positive, ones, lanes.zeros))
            lanes.store(builder, value, place, 0, mask)
        builder.store(builder.fadd(builder.load(running), value), running)
    with builder.if_then(wanted):
        lanes.store(builder, builder.load(running), total, 0, mask)
    return target.get_dummy_value()


def summing(rectified: bool) -> Any:
    """Return the function that does `rectified_gradient`, or else `sum_rows`, for a block.

    A block is some rows by one vector of columns; it adds to the sums that are there.
    """

    @intrinsic
    def block_sums(
        context: Any,
        dtype: Any,
        output: Any,
        gradient: Any,
        rows: Any,
        row_bytes: Any,
        columns: Any,
        total: Any,
    ) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return over_rows(target, builder, dtype, arguments, rectified)

        return types.void(dtype, *[types.int64] * 6), generate

    return block_sums


rectify, sum_columns = summing(True), summing(False)


@compiled
def clear(dtype: Any, address: int, size: int, begin: int, end: int) -> None:
    """Set the elements from `begin` up to `end` to zero."""
    sums = slice_of(dtype, address, size, begin, end)
    for i in range(end - begin):
        sums[i] = sums.dtype.type(0)


@kernel
def rectified_gradient(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set gradient = gradient * (output > 0), and bias_gradient = its sum over the rows.

    Each thread does some columns, a vector at a time. Arguments: output_ptr (rows, columns),
    gradient_ptr (rows, columns), rows, columns, size (bytes of a number), bias_gradient_ptr
    (columns,) or 0.
    """
    output, gradient, rows, columns, size, sums = integers(args, 0, 6)
    lanes, row_bytes = VECTOR_BYTES // size, columns * size
    left, right = partition(columns, lanes, thread, threads)
    if sums != 0:
        clear(dtype, sums, columns, left, right)
    step = max(1, min(MOST_ROWS, STREAMED // row_bytes))
    for row in range(0, rows, step):
        count = min(step, rows - row)
        for column in range(left, right, lanes):
            at = row * row_bytes + column * size
            total = sums + column * size if sums != 0 else 0
            some = min(lanes, right - column)
            rectify(dtype, output + at, gradient + at, count, row_bytes, some, total)


@kernel
def sum_rows(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = sum of the rows of x; each thread does some columns, a vector at a time.

    Arguments: x_ptr (rows, columns), rows, columns, size (bytes of a number), out_ptr (columns,).
    """
    x, rows, columns, size, out = integers(args, 0, 5)
    lanes = VECTOR_BYTES // size
    left, right = partition(columns, lanes, thread, threads)
    clear(dtype, out, columns, left, right)
    for column in range(left, right, lanes):
        at = column * size
        some = min(lanes, right - column)
        sum_columns(dtype, 0, x + at, rows, columns * size, some, out + at)


@intrinsic
def transpose_square(
    context: Any, dtype: Any, source: Any, source_row: Any, target_address: Any, target_row: Any
) -> Any:
    """Transpose a square block as wide as a vector; row strides are in bytes."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, source_row, out, out_row = arguments
        lanes = Lanes(builder.module, target.get_data_type(dtype.dtype))
        n = lanes.count
        rows = []
        for _ in range(n):
            rows.append(lanes.load(builder, source, 0))
            source = builder.add(source, source_row)
        # Rows i and i + n/2 interleaved become rows 2i and 2i + 1; log2(n) times makes it whole.
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
    """Copy one number."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = target.get_data_type(dtype.dtype).as_pointer()
        value = builder.load(builder.inttoptr(arguments[1], place))
        builder.store(value, builder.inttoptr(arguments[2], place))
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
    """Copy a matrix (rows, columns) into its transpose; row strides are in bytes."""
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
            place = source + row * source_row + column * size
            move(dtype, place, target + column * target_row + row * size)
