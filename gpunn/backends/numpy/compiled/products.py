"""Matrix products: by tiles of our own where they are faster, by the BLAS of NumPy elsewhere.

A BLAS is made for large matrices. It copies its operands into another order first, which pays if
each element is used often. In a training step one side is often a batch of some dozens of rows;
then tiles straight from where the operands lie take less, and can add a bias and do a ReLU before
the result leaves the registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.columns import turn_matrix
from gpunn.backends.numpy.compiled.kernel import Kernel, compiled, integers, number, share, vector
from gpunn.backends.numpy.compiled.tiles import ROWS, VECTORS, WIDE, tile
from gpunn.backends.numpy.compiled.vectors import I32, I64, VECTOR_BYTES

__all__ = ["BLAS", "PANEL", "PRODUCT", "TILES", "TURNED_PANELS", "TURNED_PRODUCT"]

TILES, TURNED_PANELS, TURNED_PRODUCT, BLAS = range(4)
"""How a product is done. By tiles; by tiles, B being the transpose of what lies in memory: a panel
of it is turned at a time, or, if A and C are small, they are instead, as C.T = B.T A.T; by the
BLAS."""

PANEL = VECTORS * VECTOR_BYTES
"""Bytes of a row of B that a tile takes."""


@intrinsic
def call_blas(
    context: Any,
    like: Any,
    function: Any,
    wide: Any,
    turn_a: Any,
    turn_b: Any,
    m: Any,
    n: Any,
    k: Any,
    a: Any,
    a_row: Any,
    b: Any,
    b_row: Any,
    c: Any,
    c_row: Any,
) -> Any:
    """Call cblas_sgemm or cblas_dgemm: C = A B, row-major, sizes being 64-bit if `wide`."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, function, wide, turn_a, turn_b, *rest = arguments
        real = target.get_data_type(like.dtype)
        place = real.as_pointer()
        flags = [builder.trunc(flag, I32) for flag in (turn_a, turn_b)]
        m, n, k, a, a_row, b, b_row, c, c_row = rest
        a, b, c = (builder.inttoptr(address, place) for address in (a, b, c))

        def with_sizes(size: ir.Type) -> None:
            def sized(value: Any) -> Any:
                return value if size is I64 else builder.trunc(value, size)

            kind = ir.FunctionType(
                ir.VoidType(),
                [I32] * 3 + [size] * 3 + [real, place, size, place, size, real, place, size],
            )
            product = builder.inttoptr(function, kind.as_pointer())
            values = [I32(101), *flags, sized(m), sized(n), sized(k)]
            values += [real(1), a, sized(a_row), b, sized(b_row), real(0), c, sized(c_row)]
            builder.call(product, values)

        is_wide = builder.icmp_signed("!=", wide, I64(0))
        with builder.if_else(is_wide) as (then, otherwise):
            with then:
                with_sizes(I64)
            with otherwise:
                with_sizes(I32)
        return target.get_dummy_value()

    return types.void(like, *[types.int64] * 14), generate


@compiled
def multiply_tiles(
    like: Any,
    size: int,
    a: int,
    a_row: int,
    a_column: int,
    b: int,
    b_row: int,
    initial: int,
    initial_row: int,
    c: int,
    c_row: int,
    terms: int,
    floor: float,
    first: int,
    last: int,
    left: int,
    right: int,
) -> None:
    """Do the rows from `first` and the columns from `left` of C; distances are in bytes."""
    lanes = VECTOR_BYTES // size
    rows = last - first
    width = lanes * (WIDE if rows == 1 else VECTORS)
    heights = (rows + ROWS - 1) // ROWS
    column = left
    while column < right:
        columns = min(width, right - column)
        vectors = (columns + lanes - 1) // lanes
        at = column * size
        for block in range(heights):
            # Blocks of nearly equal height, rather than a last one of a row or two.
            start = first + rows * block // heights
            stop = first + rows * (block + 1) // heights
            tile(
                like,
                stop - start,
                vectors,
                a + start * a_row,
                a_row,
                a_column,
                b + at,
                b_row,
                initial + start * initial_row + at,
                initial_row,
                c + start * c_row + at,
                c_row,
                terms,
                floor,
                columns - (vectors - 1) * lanes,
            )
        column += width


@compiled
def product(like: Any, words: Any, thread: int, threads: int) -> None:
    """Set C = max(initial + A B, floor).

    Words: method; whether threads share columns rather than rows; bytes of a number; m, n, k;
    address of A, bytes to its next row and column; the same of B; address of `initial` and bytes to
    its next row; address of C and bytes to its next row; bits of floor; address and stride of
    each thread's buffer for a turned panel; for a BLAS: its address, whether its sizes are 64-bit,
    flags and row lengths of A and B; whether there is an `initial`.
    """
    w = integers(words)
    method, by_columns, size = w[0], w[1], w[2]
    m, n, k = w[3], w[4], w[5]
    a, a_row, a_column = w[6], w[7], w[8]
    b, b_row, b_column = w[9], w[10], w[11]
    initial, initial_row = w[12], w[13]
    c, c_row = w[14], w[15]
    floor = number(w[16])
    first, last, left, right = 0, m, 0, n
    panel = PANEL // size
    if by_columns:
        left, right = share(n, panel, thread, threads)
    else:
        first, last = share(m, 1, thread, threads)
    if first >= last or left >= right:
        return
    if method == TILES:
        multiply_tiles(
            like, size, a, a_row, a_column, b, b_row, initial, initial_row, c, c_row, k, floor,
            first, last, left, right,
        )  # fmt: skip
    elif method == TURNED_PANELS:
        buffer = w[17] + thread * w[18]
        column = left
        while column < right:
            columns = min(panel, right - column)
            turn_matrix(like, size, b + column * b_column, b_column, columns, k, buffer, PANEL)
            at = column * size
            multiply_tiles(
                like, size, a, a_row, a_column, buffer, PANEL, initial + at, initial_row, c + at,
                c_row, k, floor, first, last, 0, columns,
            )  # fmt: skip
            column += columns
    elif method == TURNED_PRODUCT:
        # For this thread's columns of C: rows of what lies in memory as B.T.
        turned_a = w[17] + thread * w[18]
        turned_c = turned_a + k * m * size
        turn_matrix(like, size, a, a_row, m, k, turned_a, m * size)
        multiply_tiles(
            like, size, b + left * b_column, b_column, b_row, turned_a, m * size, initial, 0,
            turned_c, m * size, k, floor, 0, right - left, 0, m,
        )  # fmt: skip
        turn_matrix(
            like, size, turned_c, m * size, right - left, m, c + left * size, c_row
        )  # fmt: skip
    else:
        call_blas(
            like, w[19], w[20], w[21], w[22], last - first, right - left, k,
            a + first * a_row, w[23], b + left * b_column, w[24],
            c + first * c_row + left * size, c_row // size,
        )  # fmt: skip
        if w[25]:
            finish(like, size, initial, c, c_row, floor, first, last, left, right)


@compiled
def finish(
    like: Any,
    size: int,
    initial: int,
    c: int,
    c_row: int,
    floor: float,
    first: int,
    last: int,
    left: int,
    right: int,
) -> None:
    """Set C = max(initial + C, floor), `initial` being one row for all."""
    bias = vector(like, initial + left * size, right - left)
    least = bias.dtype.type(floor)
    for row in range(first, last):
        out = vector(like, c + row * c_row + left * size, right - left)
        for column in range(right - left):
            value = out[column] + bias[column]
            out[column] = least if value < least else value


PRODUCT = Kernel(product.py_func)
