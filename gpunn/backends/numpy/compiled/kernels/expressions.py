"""A machine for expressions: one kernel that runs the elementwise functions of custom classes.

The kernel gets a list of steps. Each step computes one function for a tile of rows, about a
thousand numbers, so intermediate results stay in the fastest cache. A step costs about as much as
reading and writing its numbers there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.interface import (
    BLOCK_BYTES,
    COLUMN_SUM,
    COLUMN_VECTOR,
    EXPRESSION_FUNCTIONS,
    MATRIX,
    ONE_NUMBER,
    ROW_MAXIMUM,
    ROW_SUM,
    ROW_VECTOR,
    SCALAR,
    STEP_SIZE,
    STRIDED,
)
from gpunn.backends.numpy.compiled.kernels import mathematics
from gpunn.backends.numpy.compiled.kernels.activations import mish_parts, softplus
from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, fma, rint, where
from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    block_type,
    load,
    pointer_to,
    store,
)
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, scalar, vector
from gpunn.backends.numpy.compiled.kernels.pointers import integers
from gpunn.backends.numpy.compiled.kernels.sums import sum_of_row
from gpunn.backends.numpy.compiled.kernels.vectors import I64

HIGH, MIDDLE = 6.28125, 0.0019350051879882812
LOW = 2 * math.pi - HIGH - MIDDLE + 2.4492935982947064e-16
"""Parts of 2 pi; two have few bits, so their products with small integers are exact in float32."""


def turns(x: Number) -> Number:
    """Return x / (2 pi), less the nearest integer."""
    n = rint(x * (1 / (2 * math.pi)))
    rest = fma(-n, LOW, fma(-n, MIDDLE, fma(-n, HIGH, x)))
    return rest * (1 / (2 * math.pi))


def one_if(condition: Any, number: Number) -> Number:
    """Return 1 where a condition holds, else 0."""
    return where(condition, number.like(1), 0)


def sign(a: Number) -> Number:
    """Return -1, 0 or 1; NaN stays NaN."""
    return where(a > 0, 1, where(a < 0, a.like(-1), a))


def tanh_softplus(a: Number) -> Number:
    """Return tanh(log(1 + e^a)), with one exponential and one division."""
    n, d, _power, _y = mish_parts(a)
    return n / d


FORMULAS: Mapping[str, Callable[..., Number]] = {
    "copy": lambda a: a,
    "negative": lambda a: -a,
    "abs": abs,
    "sqrt": lambda a: a.call("sqrt"),
    "exp": mathematics.exp,
    "expm1": mathematics.expm1,
    "log": mathematics.log,
    "log1p": mathematics.log1p,
    "tanh": mathematics.tanh,
    "tanh_softplus": tanh_softplus,
    "sigmoid": mathematics.sigmoid,
    "softplus": softplus,
    "sin": lambda a: mathematics.sin_of_turns(turns(a)),
    "cos": lambda a: mathematics.cos_of_turns(turns(a)),
    "floor": lambda a: a.call("floor"),
    "round": rint,
    "sign": sign,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": lambda a, b: a.call("maximum", b),
    "minimum": lambda a, b: a.call("minimum", b),
    "greater": lambda a, b: one_if(a > b, a),
    "at_least": lambda a, b: one_if(a >= b, a),
    "equal": lambda a, b: one_if(a.equals(b), a),
    "where": lambda a, b, c: where(a.equals(0), c, b),
    "multiply_add": fma,
    "multiply_subtract": lambda a, b, c: fma(a, b, -c),
    "subtract_product": lambda a, b, c: fma(-a, b, c),
}


@intrinsic
def run_step(
    context: Any, dtype: Any, function: Any, out: Any, operands: Any, strides: Any, blocks: Any
) -> Any:
    """Compute a function for some blocks; strides are bytes from a block to the next."""
    block = block_type(dtype)

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, function, out, operands, strides, blocks = arguments
        end = builder.append_basic_block("end")
        cases = builder.switch(function, end)
        for number, (name, count) in enumerate(EXPRESSION_FUNCTIONS.items()):
            case = builder.append_basic_block(name)
            cases.add_case(I64(number), case)
            builder.position_at_end(case)
            given = [
                (builder.extract_value(operands, k), builder.extract_value(strides, k))
                for k in range(count)
            ]
            with cgutils.for_range(builder, blocks) as loop:
                values = []
                for address, stride in given:
                    location = builder.add(address, builder.mul(loop.index, stride))
                    pointer = pointer_to(builder, block, location, I64(0))
                    values.append(Number(builder, builder.load(pointer, align=block.size)))
                moved = builder.add(out, builder.mul(loop.index, I64(BLOCK_BYTES)))
                result = FORMULAS[name](*values).value
                pointer = pointer_to(builder, block, moved, I64(0))
                builder.store(result, pointer, align=block.size)
            builder.branch(end)
        builder.position_at_end(end)
        return target.get_dummy_value()

    three = types.UniTuple(types.int64, 3)
    integer = types.int64
    return types.void(dtype, integer, integer, three, three, integer), generate


@compiled
def run(dtype: Any, function: int, out: int, operands: Any, strides: Any, blocks: int) -> None:
    """Call `run_step`, whose instructions are then compiled once."""
    run_step(dtype, function, out, operands, strides, blocks)


@compiled
def repeat_row(dtype: Any, source: int, columns: int, target: int, rows: int) -> None:
    """Copy a row to several adjacent rows."""
    lanes = block_size(dtype)
    for row in range(rows):
        for j in range(0, columns, lanes):
            store(load(dtype, source, j, columns - j), target, row * columns + j, columns - j)


@compiled
def extreme_of_row(dtype: Any, address: int, first: int, size: int, is_maximum: bool) -> Any:
    """Return the largest or smallest number of a row, or NaN if one is NaN."""
    numbers = vector(dtype, address, first + size)
    best = numbers[first]
    for i in range(first + 1, first + size):
        number = numbers[i]
        better = number > best if is_maximum else number < best
        if better or number != number:
            best = number
        if best != best:
            break
    return best


@kernel
def expression(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Run steps for each tile of a thread's rows.

    Arguments: steps_ptr (steps, STEP_SIZE) of int64, slots_ptr (slots, SLOT_SIZE) of int64, steps,
    once (number of steps before the loop), slots, rows, columns, tile (rows). Then multiple (of a
    thread's rows), scratch_ptr (threads, scratch_bytes), scratch_bytes, table_bytes,
    register_bytes. A thread's scratch memory has a table with two integers for each slot, four
    blocks, and a register for each slot.
    """
    steps_ptr, slots_ptr, steps, once, slots, rows, columns, tile, multiple = integers(args, 0, 9)
    scratch, scratch_bytes, table_bytes, register_bytes = integers(args, 9, 4)
    own = scratch + thread * scratch_bytes
    ends = own + table_bytes
    registers = ends + 4 * BLOCK_BYTES
    lanes = block_size(dtype)
    size = BLOCK_BYTES // lanes
    code, slot = vector(args, steps_ptr, steps * STEP_SIZE), vector(args, slots_ptr, slots * 4)
    place = vector(args, own, slots * 2)  # address, and bytes to the next block
    begin, end = partition(rows, multiple, thread, threads)
    for s in range(slots):
        kind, address, is_integer = slot[4 * s], slot[4 * s + 1], slot[4 * s + 3]
        place[2 * s], place[2 * s + 1] = registers + s * register_bytes, BLOCK_BYTES
        if kind == SCALAR:
            if is_integer != 0:
                store(block_of(dtype, float(scalar(args, address))), place[2 * s], 0, lanes)
            else:
                store(block_of(dtype, scalar(dtype, address)), place[2 * s], 0, lanes)
            place[2 * s + 1] = 0
        elif kind == ONE_NUMBER:
            place[2 * s + 1] = 0
        elif kind == COLUMN_VECTOR:
            if is_integer != 0:
                whole, numbers = (
                    vector(args, address, columns),
                    vector(dtype, place[2 * s], columns),
                )
                for j in range(columns):
                    numbers[j] = whole[j]
                repeat_row(dtype, place[2 * s], columns, place[2 * s], min(tile, end - begin))
            else:
                repeat_row(dtype, address, columns, place[2 * s], min(tile, end - begin))
    for k in range(0, once * STEP_SIZE, STEP_SIZE):
        a, b, c = code[k + 2], code[k + 3], code[k + 4]
        operands = place[2 * a], place[2 * b], place[2 * c]
        run(dtype, code[k], place[2 * code[k + 1]], operands, (0, 0, 0), 1)
    for k in range(once * STEP_SIZE, steps * STEP_SIZE, STEP_SIZE):
        if code[k] == COLUMN_SUM:
            address = slot[4 * code[k + 1] + 1] + thread * columns * size
            for j in range(0, columns, lanes):
                store(block_of(dtype, 0), address, j, columns - j)
    for top in range(begin, end, tile):
        many = min(tile, end - top)
        count = many * columns
        for s in range(slots):
            kind, address, is_integer = slot[4 * s], slot[4 * s + 1], slot[4 * s + 3]
            if kind == MATRIX:
                if is_integer != 0:
                    whole = vector(args, address, rows * columns)
                    numbers = vector(dtype, place[2 * s], count)
                    for i in range(count):
                        numbers[i] = whole[top * columns + i]
                else:
                    place[2 * s] = address + top * columns * size
            elif kind == ROW_VECTOR:
                for r in range(many):
                    if is_integer != 0:
                        value = block_of(dtype, float(vector(args, address, rows)[top + r]))
                    else:
                        value = block_of(dtype, vector(dtype, address, rows)[top + r])
                    for j in range(0, columns, lanes):
                        store(value, place[2 * s], r * columns + j, columns - j)
            elif kind == STRIDED:
                for r in range(many):
                    source = address + (top + r) * slot[4 * s + 2]
                    for j in range(0, columns, lanes):
                        value = load(dtype, source, j, columns - j)
                        store(value, place[2 * s], r * columns + j, columns - j)
        for k in range(once * STEP_SIZE, steps * STEP_SIZE, STEP_SIZE):
            function, out, a = code[k], code[k + 1], code[k + 2]
            b, c = code[k + 3], code[k + 4]
            if function == COLUMN_SUM:
                address = slot[4 * out + 1] + thread * columns * size
                for j in range(0, columns, lanes):
                    left = columns - j
                    total = load(dtype, address, j, left)
                    for r in range(many):
                        total = total + load(dtype, place[2 * a], r * columns + j, left)
                    store(total, address, j, left)
            elif function >= ROW_SUM:
                results = vector(dtype, slot[4 * out + 1], rows)
                for r in range(many):
                    if function == ROW_SUM:
                        results[top + r] = sum_of_row(dtype, place[2 * a], r * columns, columns)
                    else:
                        results[top + r] = extreme_of_row(
                            dtype, place[2 * a], r * columns, columns, function == ROW_MAXIMUM
                        )
            else:
                operands = place[2 * a], place[2 * b], place[2 * c]
                strides = place[2 * a + 1], place[2 * b + 1], place[2 * c + 1]
                whole_blocks = count // lanes
                run(dtype, function, place[2 * out], operands, strides, whole_blocks)
                left = count - whole_blocks * lanes
                if left:  # the last block may end beyond the arrays
                    at = whole_blocks * lanes
                    if strides[0] != 0:
                        store(load(dtype, operands[0], at, left), ends, 0, lanes)
                    else:
                        store(load(dtype, operands[0], 0, lanes), ends, 0, lanes)
                    if strides[1] != 0:
                        store(load(dtype, operands[1], at, left), ends, lanes, lanes)
                    else:
                        store(load(dtype, operands[1], 0, lanes), ends, lanes, lanes)
                    if strides[2] != 0:
                        store(load(dtype, operands[2], at, left), ends, 2 * lanes, lanes)
                    else:
                        store(load(dtype, operands[2], 0, lanes), ends, 2 * lanes, lanes)
                    moved = ends, ends + BLOCK_BYTES, ends + 2 * BLOCK_BYTES
                    zeros = 0, 0, 0
                    run(dtype, function, ends + 3 * BLOCK_BYTES, moved, zeros, 1)
                    last = load(dtype, ends, 3 * lanes, lanes)
                    store(last, place[2 * out], at, left)
