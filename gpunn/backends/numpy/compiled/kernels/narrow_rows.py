"""Rows of few numbers: functions of as many rows as a half block has lanes.

A loop over rows would take about as long for 3 numbers as for a whole block. Here, each vector
contains several rows, and shuffles move the numbers of all these rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.blocks import Block, pointer_to
from gpunn.backends.numpy.compiled.kernels.vectors import I32, I64

NARROW_ROWS = (3, 4, 8)
"""Numbers of columns for which these functions have code."""


def shuffled(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.VectorType(I32, len(lanes))(lanes))


def by_columns(builder: Any, columns: Any, code: Callable[[int], None]) -> None:
    done = builder.append_basic_block("done")
    cases = builder.switch(columns, done)
    for each in NARROW_ROWS:
        case = builder.append_basic_block(f"of_{each}")
        cases.add_case(I64(each), case)
        builder.position_at_end(case)
        code(each)
        builder.branch(done)
    builder.position_at_end(done)


def folded(combine: Callable[[Any, Any, Any], Any], end: float) -> Any:
    """Return a function that combines the two halves of each row until one number is left.

    Results are as if numbers equal to `end` were appended to each row, up to a half block.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sign, address, row, columns, result = arguments
        # Unrolled loops over further rows would take 5 kB, and no less time.
        builder.function.attributes.add("optsize")
        block: Block = signature.args[0]
        n, ends = block.lanes, ir.Constant(block.vector, [end] * block.lanes)

        def code(columns: int) -> None:
            width, vectors = max(4, columns), list[Any]()
            first = builder.mul(row, I64(columns))
            for group in (range(k, k + n // width) for k in range(0, n, n // width)):
                start = min(group[0] * columns, (columns - 1) * n)
                both = ((one, k) for one in group for k in range(width))
                lanes = [one * columns + k - start if k < columns else n for one, k in both]
                pointer = pointer_to(builder, block, address, builder.add(first, I64(start)))
                value = builder.fmul(sign, builder.load(pointer, align=block.size))
                vectors.append(shuffled(builder, value, ends, lanes))
            while len(vectors) > 1:
                half = len(vectors) // 2
                parts = [[k for k in range(2 * n) if k // half % 2 == odd] for odd in (0, 1)]
                vectors = [
                    combine(builder, *(shuffled(builder, *pair, each) for each in parts))
                    for pair in zip(vectors[::2], vectors[1::2], strict=True)
                ]
            value = combine(builder, vectors[0], ends) if width < n else vectors[0]
            builder.store(value, pointer_to(builder, block, result, row), align=block.size)

        by_columns(builder, columns, code)
        return target.get_dummy_value()

    def fold_rows(
        context: Any, sign: Any, address: Any, row: Any, columns: Any, result: Any
    ) -> Any:
        return types.void(sign, *[types.int64] * 4), generate

    return intrinsic(fold_rows)


def larger(builder: Any, a: Any, b: Any) -> Any:
    largest = builder.select(builder.fcmp_ordered(">", a, b), a, b)
    nan = ir.Constant(a.type, [math.nan] * a.type.count)
    return builder.select(builder.fcmp_unordered("uno", a, b), nan, largest)


sum_narrow_rows = folded(lambda builder, a, b: builder.fadd(a, b), 0.0)
maximize_narrow_rows = folded(larger, -math.inf)


@intrinsic
def repeat_numbers(context: Any, numbers: Any, address: Any, row: Any, columns: Any) -> Any:
    """Copy each number of a half block to all columns of one row, starting with row `row`."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, address, row, columns = arguments

        def code(columns: int) -> None:
            first = builder.mul(row, I64(columns))
            for start in range(0, columns * numbers.lanes, numbers.lanes):
                lanes = [lane // columns for lane in range(start, start + numbers.lanes)]
                pointer = pointer_to(builder, numbers, address, builder.add(first, I64(start)))
                result = shuffled(builder, value, value, lanes)
                builder.store(result, pointer, align=numbers.size)

        by_columns(builder, columns, code)
        return target.get_dummy_value()

    return types.void(numbers, *[types.int64] * 3), generate
