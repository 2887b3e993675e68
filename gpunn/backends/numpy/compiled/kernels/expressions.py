"""A kernel that interprets expressions: it computes the elementwise functions of custom classes.

The kernel runs a list of steps. Each step computes one function for a tile of rows, about a
thousand numbers, so that intermediate results stay in the fastest cache. A step takes about the
time of reading and writing its numbers in this cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.interface import (
    ATTACHED,
    ATTACHING,
    BLOCK_BYTES,
    COLUMN_SUM,
    COPY,
    EXPRESSION_FUNCTIONS,
    INPUT_BYTES,
    MEANS,
    OPERANDS,
    PUT,
    ROW_MAXIMUM,
    ROW_MINIMUM,
    ROW_SUM,
    STEP_BYTES,
)
from gpunn.backends.numpy.compiled.kernels import mathematics
from gpunn.backends.numpy.compiled.kernels.activations import mish_parts
from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, fma, rint, where
from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    block_type,
    filled_like,
    largest_of,
    load,
    load_else,
    load_half,
    load_half_else,
    maximum,
    store,
    sum_of,
)
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, scalar, vector
from gpunn.backends.numpy.compiled.kernels.pointers import (
    FLUSHING,
    flush_subnormals,
    integers,
    pointer,
    set_float_flags,
)
from gpunn.backends.numpy.compiled.kernels.sums import sum_of_row
from gpunn.backends.numpy.compiled.kernels.vectors import I1, I32, I64, VECTOR_BYTES

HIGH, MIDDLE = 6.28125, 0.0019350051879882812
LOW = 2 * math.pi - HIGH - MIDDLE + 2.4492935982947064e-16
"""Numbers whose sum is 2 pi. HIGH and MIDDLE have few significant bits, so that their products with
small integers are exact in float32."""


NARROW = 8
"""In rows with fewer numbers, each number is copied separately."""


def turns(x: Number) -> Number:
    """Return x / (2 pi) minus the nearest integer."""
    n = rint(x * (1 / (2 * math.pi)))
    rest = fma(-n, LOW, fma(-n, MIDDLE, fma(-n, HIGH, x)))
    return rest * (1 / (2 * math.pi))


def one_if(condition: Any, number: Number) -> Number:
    return where(condition, number.like(1), 0)


def sign(a: Number) -> Number:
    """Return -1, 0 or 1; NaN stays NaN."""
    return where(a > 0, 1, where(a < 0, a.like(-1), a))


def tanh_softplus(a: Number) -> Number:
    """Return tanh(log(1 + e^a)), with one exponential and one division."""
    n, d, _power, _y = mish_parts(a)
    return n / d


def divide_by_scaled_root(
    a: Number, b: Number, c: Number, d: Number, e: Number, f: Number
) -> Number:
    """Return c d e / (sqrt(a b) + f), as in the updates of many optimizers."""
    return mathematics.divided(c * d * e, mathematics.root(a * b) + f)


FORMULAS: Mapping[str, Callable[..., Number]] = {
    "copy": lambda a: a,
    "negative": lambda a: -a,
    "abs": abs,
    "sqrt": mathematics.root,
    "exp": mathematics.exp,
    "expm1": mathematics.expm1,
    "log": mathematics.log,
    "log1p": mathematics.log1p,
    "tanh": mathematics.tanh,
    "tanh_softplus": tanh_softplus,
    "sigmoid": mathematics.sigmoid,
    "softplus": mathematics.softplus,
    "sin": lambda a: mathematics.sin_of_turns(turns(a)),
    "cos": lambda a: mathematics.cos_of_turns(turns(a)),
    "floor": lambda a: a.call("floor"),
    "round": rint,
    "sign": sign,
    "inverse": lambda a: 1 / a,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": mathematics.divided_alone,
    "maximum": lambda a, b: a.call("maximum", b),
    "minimum": lambda a, b: a.call("minimum", b),
    "greater": lambda a, b: one_if(a > b, a),
    "at_least": lambda a, b: one_if(a >= b, a),
    "equal": lambda a, b: one_if(a.equals(b), a),
    "where": lambda a, b, c: where(a.equals(0), c, b),
    "where_greater": lambda a, b, c, d: where(a > b, c, d),
    "where_at_least": lambda a, b, c, d: where(a >= b, c, d),
    "multiply_add": fma,
    "multiply_subtract": lambda a, b, c: fma(a, b, -c),
    "subtract_product": lambda a, b, c: fma(-a, b, c),
    "multiply_product": lambda a, b, c: a * b * c,
    "multiply_difference": lambda a, b, c: (a - b) * c,
    "divide_by_sum": lambda a, b, c: mathematics.divided_alone(c, a + b),
    "clip": lambda a, b, c: a.call("maximum", b).call("minimum", c),
    "add_to_root": lambda a, b: mathematics.root(a) + b,
    "add_products": lambda a, b, c, d: fma(c, d, a * b),
    "add_rounded_products": lambda a, b, c, d: c * d + a * b,
    "add_scaled_difference": lambda a, b, c, d: fma(a - b, c, d),
    "add_triple_product": lambda a, b, c, d, e: fma(d, e, a * b * c),
    "divide_by_scaled_root": divide_by_scaled_root,
    "subtract_by_scaled_root": lambda *args: args[6] - divide_by_scaled_root(*args[:6]),
}

INVERSE = [*EXPRESSION_FUNCTIONS].index("inverse")

BY_VECTOR = (
    *("exp", "expm1", "log", "log1p", "tanh", "tanh_softplus", "sigmoid", "softplus", "sin", "cos"),
)
"""Functions of many instructions. These compute one SIMD vector at a time, other functions a
block."""


@intrinsic
def apart(context: Any) -> Any:
    """Prevent the inlining of the function that calls this one."""
    # Otherwise LLVM keeps numbers of that function's caller in registers.

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")
        return target.get_dummy_value()

    return types.void(), generate


@intrinsic
def run_step(context: Any, dtype: Any, step: Any, places: Any, begin: Any, end: Any) -> Any:
    # Compute blocks `begin` to `end - 1` of the step's result.
    block = block_type(dtype)

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, step, places, begin, end = arguments
        # Unrolled loops would take longer, because most have few iterations.
        builder.function.attributes.add("optsize")

        def number(address: Any, index: int) -> Any:
            location = builder.inttoptr(address, I64.as_pointer())
            return builder.load(builder.gep(location, [I64(index)]))

        offset, blocks = builder.mul(begin, I64(BLOCK_BYTES)), builder.sub(end, begin)
        done = builder.append_basic_block("done")
        cases = builder.switch(number(step, 0), done)

        def means() -> Iterator[tuple[Any, Callable[[Any], None]]]:
            # For each mean: whether the step has it, and a function that generates its code.
            bits, record = number(step, 3 + OPERANDS), step
            for k, name in enumerate(MEANS):
                has = builder.and_(builder.lshr(bits, I64(k)), I64(1))
                # If the mean is not attached, the step's own record is read, without effect.
                record = builder.add(record, builder.mul(has, I64(STEP_BYTES)))
                last = EXPRESSION_FUNCTIONS[name] + 2
                y, c, x, b = (address(record, word) for word in (3, 4, last - 1, last))
                arrays = [builder.add(each, offset) for each in (address(record, 2), y, x)]
                yield builder.trunc(has, I1), partial(mean, name, arrays, [filled(c), filled(b)])

        def address(record: Any, word: int) -> Any:
            return number(builder.add(places, number(record, word)), 0)

        def filled(address: Any) -> Any:
            # All elements of the memory are equal, so one vector is enough.
            lanes = VECTOR_BYTES // block.size
            kind = ir.VectorType(block.element, lanes)
            vector = builder.load(builder.inttoptr(address, kind.as_pointer()), align=block.size)
            repeated = ir.VectorType(I32, block.lanes)([I32(k % lanes) for k in range(block.lanes)])
            return builder.shuffle_vector(vector, vector, repeated)

        def mean(name: str, arrays: Sequence[Any], factors: Sequence[Any], index: Any) -> None:
            position = builder.mul(index, I64(BLOCK_BYTES))
            out, *pointers = (
                builder.inttoptr(builder.add(start, position), block.vector.as_pointer())
                for start in arrays
            )
            y, x = (builder.load(each, align=block.size) for each in pointers)
            c, b = factors
            values = (y, c, x, b) if name == MEANS[0] else (y, c, y, x, b)
            result = FORMULAS[name](*(Number(builder, value) for value in values))
            builder.store(result.value, out, align=block.size)

        for index, (name, operands) in enumerate(EXPRESSION_FUNCTIONS.items()):
            case = builder.append_basic_block(name)
            cases.add_case(I64(index), case)
            builder.position_at_end(case)
            used = [builder.add(places, number(step, k)) for k in range(2, 3 + operands)]
            moves = [I64(1), *(number(place, 1) for place in used[1:])]
            starts = [
                builder.add(number(place, 0), builder.mul(offset, moving))
                for place, moving in zip(used, moves, strict=True)
            ]
            width = VECTOR_BYTES if name in BY_VECTOR else BLOCK_BYTES
            kind = ir.VectorType(block.element, width // block.size).as_pointer()
            strides = [builder.mul(moving, I64(width)) for moving in moves]
            count = builder.mul(blocks, I64(BLOCK_BYTES // width))
            attached = list(means()) if name in ATTACHING else []
            with cgutils.for_range(builder, count) as loop:
                for has, generated in attached:
                    with builder.if_then(has):
                        generated(loop.index)
                out, *pointers = (
                    builder.inttoptr(builder.add(start, builder.mul(loop.index, stride)), kind)
                    for start, stride in zip(starts, strides, strict=True)
                )
                values = [builder.load(each, align=block.size) for each in pointers]
                result = FORMULAS[name](*(Number(builder, value) for value in values))
                builder.store(result.value, out, align=block.size)
            builder.branch(done)
        builder.position_at_end(done)
        return target.get_dummy_value()

    return types.void(dtype, *[types.int64] * 4), generate


@compiled
def run(dtype: Any, step: int, places: int, begin: int, end: int) -> None:
    apart()
    run_step(dtype, step, places, begin, end)


@compiled
def number_at(dtype: Any, args: Any, address: int, integer: int) -> float:
    if integer == 0:
        return float(scalar(dtype, address))
    number = scalar(args, address)
    if integer > 1:
        number = number % integer
    if integer < 0:
        number = number // -integer
    return float(number)


@compiled
def copy_rows(
    dtype: Any, args: Any, step: int, source: int, target: int, rows: int, columns: int, width: int
) -> None:
    """Copy `columns` numbers of each row, or repeat one number if the stride of columns is 0.

    A row of the target has `width` numbers.
    """
    apart()
    row_bytes, column_bytes, offset, integer = integers(pointer(args, step), 4, 4)
    lanes = block_size(dtype)
    if width > columns:  # the function PUT
        target += column_bytes
        column_bytes, integer = BLOCK_BYTES // lanes, 0
        row_bytes = columns * column_bytes
    else:
        source += offset
    half = load_half(dtype, target, 0, 0)
    if column_bytes == 0 and columns <= NARROW:
        for row in range(rows):
            number = number_at(dtype, args, source + row * row_bytes, integer)
            store(filled_like(half, number), target, row * width, columns)
        return
    if columns < NARROW or integer * column_bytes != 0:
        numbers = vector(dtype, target, rows * width)
        for j in range(columns):
            for row in range(rows):
                address = source + row * row_bytes + j * column_bytes
                numbers[row * width + j] = number_at(dtype, args, address, integer)
        return
    for j in range(0, columns, lanes):
        for row in range(rows):
            address = source + row * row_bytes
            if column_bytes == 0:
                some = block_of(dtype, number_at(dtype, args, address, integer))
            else:
                some = load(dtype, address, j, columns - j)
            store(some, target, row * width + j, columns - j)


@compiled
def reduce_rows(dtype: Any, x: int, result: int, rows: int, columns: int, function: int) -> None:
    """Set the result of each row to its sum, maximum or minimum; NaN stays NaN."""
    apart()
    results, lanes = vector(dtype, result, rows), block_size(dtype)
    sign = block_of(dtype, 1 if function == ROW_MAXIMUM else -1)
    lowest = block_of(dtype, -math.inf)
    half = load_half(dtype, x, 0, 1)
    half_sign = filled_like(half, 1 if function == ROW_MAXIMUM else -1)
    half_lowest = filled_like(half, -math.inf) * half_sign
    is_narrow = columns <= lanes // 2
    for r in range(rows):
        first = r * columns
        if function == ROW_SUM:
            if is_narrow:
                results[r] = sum_of(load_half(dtype, x, first, columns))
            else:
                results[r] = sum_of_row(dtype, x, first, columns)
        elif is_narrow:
            part = load_half_else(dtype, x, first, columns, half_lowest)
            results[r] = largest_of(half_sign * part)
        else:
            best = lowest
            for i in range(0, columns, lanes):
                part = load_else(dtype, x, first + i, columns - i, sign * lowest)
                best = maximum(best, sign * part)
            results[r] = largest_of(best)
    if function == ROW_MINIMUM:
        for r in range(0, rows, lanes):
            store(sign * load(dtype, result, r, rows - r), result, r, rows - r)


@kernel
def expression(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Run steps for each tile of a thread's rows.

    A step has a function, a number of columns, a place for its result, and a place for each
    operand. A place is an address and a stride. The stride is 1 if each element has a number, and 0
    if all elements share one number. An input is a number or an array; an array's place moves from
    tile to tile. The last block of a tile may be incomplete. For this block, a second table has
    places whose memory holds whole blocks.

    Arguments: steps_ptr (steps, STEP_BYTES), inputs_ptr (inputs, INPUT_BYTES), memory_ptr (threads,
    memory_bytes), memory_bytes, ends (offset of the second table). Further arguments: steps, once
    (number of steps before the loop), inputs, numbers (number of inputs that are numbers), rows,
    tile (rows of a tile), multiple (of a thread's rows).
    """
    code, given, memory, memory_bytes, ends, steps, once, inputs, numbers = integers(args, 0, 9)
    rows, tile, multiple = integers(args, 9, 3)
    places = memory + thread * memory_bytes
    lanes = block_size(dtype)
    begin, end = partition(rows, multiple, thread, threads)
    top, keeps_subnormals = begin, False
    while top < end or top == begin:
        many = min(tile, end - top)
        for k in range(0 if top == begin else numbers, inputs):
            one = integers(pointer(args, given + k * INPUT_BYTES), 0, 6)
            by_rows, address, row_bytes, integer, place, own = one
            if by_rows != 0:
                address += top * row_bytes
                whole = many * row_bytes // BLOCK_BYTES * BLOCK_BYTES
                at_end = places + own - whole
                vector(args, places + place, 1)[0] = address
                vector(args, places + ends + place, 1)[0] = at_end
                if many * row_bytes > whole:
                    rest = (many * row_bytes - whole) // (BLOCK_BYTES // lanes)
                    store(load(dtype, address + whole, 0, rest), at_end + whole, 0, lanes)
            else:
                number = number_at(dtype, args, address, integer)
                store(block_of(dtype, number), places + own, 0, lanes)
        for k in range(0 if top == begin else once, steps):
            step = code + k * STEP_BYTES
            function, columns, out, operand = integers(pointer(args, step), 0, 4)
            (result,) = integers(pointer(args, places + out), 0, 1)
            (at_end,) = integers(pointer(args, places + ends + out), 0, 1)
            (x,) = integers(pointer(args, places + operand), 0, 1)
            blocks, left = many * columns // lanes, many * columns % lanes
            if function < ROW_SUM:
                if function == INVERSE:
                    inverse = largest_of(block_of(dtype, 1) / load(dtype, x, 0, lanes))
                    if inverse == 0:  # subnormal, but its products may be normal
                        set_float_flags(flush_subnormals() & ~FLUSHING)
                        keeps_subnormals = True
                table, first, stop = places, 0, max(blocks, int(columns == 0))
                for _ in range(0 if function == ATTACHED else 1 if left == 0 else 2):
                    run(dtype, step, table, first, stop)
                    table, first, stop = places + ends, blocks, blocks + 1
                if at_end != result and left != 0:
                    last = load(dtype, at_end, blocks * lanes, lanes)
                    store(last, result, blocks * lanes, left)
                continue
            if function == COLUMN_SUM:
                for j in range(0, columns, lanes):
                    total = block_of(dtype, 0)
                    if top > begin:
                        total = load(dtype, result, j, columns - j)
                    for r in range(many):
                        total = total + load(dtype, x, r * columns + j, columns - j)
                    store(total, result, j, columns - j)
                continue
            if function >= COPY:
                width = columns
                if function == PUT:
                    (row_bytes,) = integers(pointer(args, step), 4, 1)
                    width = row_bytes // (BLOCK_BYTES // lanes)
                    blocks, left = many * width // lanes, many * width % lanes
                copy_rows(dtype, args, step, x, result, many, columns, width)
            else:
                blocks, left = many // lanes, many % lanes
                reduce_rows(dtype, x, result, many, columns, function)
            if at_end != result and left != 0:
                last = load(dtype, result, blocks * lanes, left)
                store(last, at_end, blocks * lanes, lanes)
        top += tile
    if keeps_subnormals:
        flush_subnormals()
