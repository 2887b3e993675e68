"""Sums and maxima of rows, for as many rows as a half block has lanes.

A loop over rows would take a step for each half of each row's numbers. Here, one instruction
combines the halves of several rows. Rows may have two half blocks. A vector holds several rows of
at most 8 numbers, otherwise softmax over 4 numbers would take 1.6 times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.interface import WORD_BYTES
from gpunn.backends.numpy.compiled.kernels.blocks import Block, lane_numbers, pointer_to
from gpunn.backends.numpy.compiled.kernels.vectors import (
    I1,
    I32,
    I64,
    Lanes,
    declared,
    joined,
    permuted,
    spread,
)


def folded(combine: Callable[[Any, Any, Any], Any], end: float) -> Any:
    """Return a function that reduces each row to one number with `combine`.

    The function combines the two halves of a row, then the halves of the result, until one number
    is left. Results are as if each row were padded with `end` to a multiple of a half block.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sign, address, columns, result = arguments
        # Unrolled loops over further rows would take 5 kB, and no less time.
        builder.function.attributes.add("optsize")
        block: Block = signature.args[0]
        n = block.lanes
        ends = ir.Constant(block.vector, [end] * n)
        fill = builder.fmul(sign, ends)

        kind = ir.VectorType(I1, n)
        name, size = f"llvm.masked.load.{block.suffix}.p0", I32(block.size)

        def part(row: int, start: int = 0) -> Any:
            index = builder.add(builder.mul(columns, I64(row)), I64(start))
            pointer = pointer_to(builder, block, address, index)
            limit = builder.trunc(builder.sub(columns, I64(start)), I32)
            mask = builder.icmp_signed("<", lane_numbers(n), spread(builder, limit, n))
            load = declared(builder.module, name, fill.type, [pointer.type, I32, kind, fill.type])
            value = builder.call(load, [pointer, size, mask, fill])
            return value if end == 0 else builder.fmul(sign, value)

        def fold(values: list[Any]) -> None:
            while len(values) > 1:
                half = len(values) // 2
                lanes = [[k for k in range(2 * n) if k // half % 2 == odd] for odd in (0, 1)]
                masks = [ir.VectorType(I32, n)(each) for each in lanes]
                values = [
                    combine(builder, *(builder.shuffle_vector(*pair, mask) for mask in masks))
                    for pair in zip(values[::2], values[1::2], strict=True)
                ]
            value = combine(builder, values[0], ends)  # a sum is never -0
            builder.store(value, pointer_to(builder, block, result, I64(0)), align=block.size)

        lanes = Lanes(builder.module, block.element)
        words = lanes.size // WORD_BYTES
        few = spread(builder, builder.trunc(columns, I32), lanes.count * words)

        def padded(first: int, width: int) -> Any:
            """Return a vector of the rows' numbers, as if each row were padded to `width` numbers.

            `first` is the index of the vector's first number among all padded numbers.
            """
            at = [divmod(first + k // words, width) for k in range(few.type.count)]
            row, column = at[0]
            start = builder.add(builder.mul(columns, I64(row)), I64(column))
            # Only the last vector may end after the last row.
            left = builder.sub(builder.mul(columns, I64(n)), start)
            is_last = first + lanes.count == n * width
            mask = lanes.first(builder, left) if is_last else None
            location = builder.add(address, builder.mul(start, I64(lanes.size)))
            down = few.type([I32((r - row) * words) for r, _ in at])
            right = few.type([I32((c - column) * words + k % words) for k, (_, c) in enumerate(at)])
            indices = builder.add(builder.mul(down, few), right)
            return permuted(builder, lanes.load(builder, location, 0, mask), indices)

        done = builder.append_basic_block("done")
        for width in (2, 4, 8):
            with builder.if_then(builder.icmp_signed("==", columns, I64(width))):
                whole = [pointer_to(builder, block, address, I64(k * n)) for k in range(width)]
                values = [builder.load(each, align=block.size) for each in whole]
                fold(values if end == 0 else [builder.fmul(sign, each) for each in values])
                builder.branch(done)
            if width == 2:
                continue
            with builder.if_then(builder.icmp_signed("<", columns, I64(width))):
                count = spread(builder, builder.trunc(columns, I32), n)
                numbers = count.type([I32(k % width) for k in range(n)])
                inside = builder.icmp_signed("<", numbers, count)
                values = list[Any]()
                for start in range(0, n * width, n):
                    own = (padded(k, width) for k in range(start, start + n, lanes.count))
                    value = joined(builder, list(own))
                    value = value if end == 0 else builder.fmul(sign, value)
                    values.append(builder.select(inside, value, ends))
                fold(values)
                builder.branch(done)
        values = [part(row) for row in range(n)]
        before = builder.block
        with builder.if_then(builder.icmp_signed(">", columns, I64(n))):
            wholes = [combine(builder, value, part(k, n)) for k, value in enumerate(values)]
            after = builder.block
        for k, pair in enumerate(zip(values, wholes, strict=True)):
            values[k] = builder.phi(block.vector)
            for value, source in zip(pair, (before, after), strict=True):
                values[k].add_incoming(value, source)
        fold(values)
        builder.branch(done)
        builder.position_at_end(done)
        return target.get_dummy_value()

    def fold_rows(context: Any, sign: Any, address: Any, columns: Any, result: Any) -> Any:
        return types.void(sign, *[types.int64] * 3), generate

    return intrinsic(fold_rows)


def larger(builder: Any, a: Any, b: Any) -> Any:
    largest = builder.select(builder.fcmp_ordered(">", a, b), a, b)
    nan = ir.Constant(a.type, [math.nan] * a.type.count)
    return builder.select(builder.fcmp_unordered("uno", a, b), nan, largest)


sum_rows = folded(lambda builder, a, b: builder.fadd(a, b), 0.0)
maximize_rows = folded(larger, -math.inf)
