"""Sums and maxima of rows, for as many rows as a half block has lanes.

A loop over rows would take a step for each half of each row's numbers. Here, one instruction
combines the halves of several rows. A vector has the numbers of 2 or 4 short rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.blocks import Block, lane_numbers, pointer_to
from gpunn.backends.numpy.compiled.kernels.kernel import compiled
from gpunn.backends.numpy.compiled.kernels.vectors import I1, I32, I64, declared, joined, spread

WIDE, DENSE, NO_GROUPS = 0, 8, -1


@compiled
def packing(columns: int, lanes: int) -> int:
    """Return the number of rows in half a block, plus DENSE if these rows fill it.

    A WIDE row has two half blocks.
    """
    if columns > lanes:
        return WIDE if columns <= 2 * lanes else NO_GROUPS
    many = 4 if 4 * columns <= lanes else 2 if 2 * columns <= lanes else 1
    return many + DENSE if many > 1 and many * columns == lanes else many


def part_of(builder: Any, block: Block, address: Any, index: Any, limit: Any, fill: Any) -> Any:
    """Return a block whose lanes from `limit` on are the lanes of `fill`."""
    pointer, mask = pointer_to(builder, block, address, index), ir.VectorType(I1, block.lanes)
    parameters = [pointer.type, I32, mask, block.vector]
    name = f"llvm.masked.load.{block.suffix}.p0"
    load = declared(builder.module, name, block.vector, parameters)
    limits = spread(builder, builder.trunc(limit, I32), block.lanes)
    is_before = builder.icmp_signed("<", lane_numbers(block.lanes), limits)
    others = builder.shuffle_vector(fill, fill, lane_numbers(block.lanes))
    return builder.call(load, [pointer, I32(block.size), is_before, others])


def folded(combine: Callable[[Any, Any, Any], Any], end: float) -> Any:
    """Return a function that combines half of each row with the other half, to one number a row.

    Results are as if each row filled a half block, whose last numbers are `end`.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sign, address, columns, kind, result = arguments
        # Unrolled loops over further rows would take 5 kB, and no less time.
        builder.function.attributes.add("optsize")
        block: Block = signature.args[0]
        n, done = block.lanes, builder.append_basic_block("done")
        ends = ir.Constant(block.vector, [end] * n)
        fill = builder.fmul(sign, ends)
        cases = builder.switch(kind, done)

        def part(lanes: int, row: int, start: int = 0) -> Any:
            own, first = Block(block.number, lanes), builder.mul(columns, I64(row))
            index, limit = builder.add(first, I64(start)), builder.sub(columns, I64(start))
            return part_of(builder, own, address, index, limit, fill)

        def dense(start: int) -> Any:
            return builder.load(pointer_to(builder, block, address, I64(start)), align=block.size)

        for number in (WIDE, 1, 2, 4, DENSE + 2, DENSE + 4):
            case = builder.append_basic_block(f"of_{number}")
            cases.add_case(I64(number), case)
            builder.position_at_end(case)
            if number > DENSE:
                values = [dense(k) for k in range(0, n * n // (number - DENSE), n)]
            else:
                many = max(1, number)
                rows = [part(n // many, k) for k in range(n)]
                values = [joined(builder, rows[k : k + many]) for k in range(0, n, many)]
            values += [part(n, k, n) for k in range(n if number == WIDE else 0)]
            if end != 0:
                values = [builder.fmul(sign, each) for each in values]
            if number == WIDE:
                pairs = zip(values[:n], values[n:], strict=True)
                values = [combine(builder, *pair) for pair in pairs]
            while len(values) > 1:
                size = len(values) // 2
                lanes = [[k for k in range(2 * n) if k // size % 2 == odd] for odd in (0, 1)]
                values = [
                    combine(builder, *(builder.shuffle_vector(*pair, constant(x)) for x in lanes))
                    for pair in zip(values[::2], values[1::2], strict=True)
                ]
            value = values[0]
            if number != 1:  # a row alone is combined with `end`, so that its sum is never -0
                value = combine(builder, value, ends)
            builder.store(value, pointer_to(builder, block, result, I64(0)), align=block.size)
            builder.branch(done)
        builder.position_at_end(done)
        return target.get_dummy_value()

    def fold_rows(
        context: Any, sign: Any, address: Any, columns: Any, kind: Any, result: Any
    ) -> Any:
        return types.void(sign, *[types.int64] * 4), generate

    return intrinsic(fold_rows)


def constant(lanes: list[int]) -> Any:
    return ir.VectorType(I32, len(lanes))(lanes)


def larger(builder: Any, a: Any, b: Any) -> Any:
    largest = builder.select(builder.fcmp_ordered(">", a, b), a, b)
    nan = ir.Constant(a.type, [math.nan] * a.type.count)
    return builder.select(builder.fcmp_unordered("uno", a, b), nan, largest)


sum_rows = folded(lambda builder, a, b: builder.fadd(a, b), 0.0)
maximize_rows = folded(larger, -math.inf)
