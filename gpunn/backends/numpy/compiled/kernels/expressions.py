"""A kernel that interprets expressions: it computes the elementwise functions of custom classes.

The kernel runs a list of steps. Each step computes a function for a tile of rows, about a thousand
numbers, so that intermediate results stay in the fastest cache. Most steps are chains: they compute
all their operations for some vectors of the tile before the next vectors. Registers hold the
previous operation's result and one earlier result, so few results are written and read. While the
processor waits for quotients and roots, it computes other operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.interface import (
    BLOCK_BYTES,
    BY_VECTORS,
    CHAIN,
    CHUNK_BYTES,
    COLUMN_SUM,
    CONTRACTION,
    COPY,
    INPUT_BYTES,
    INVERSE,
    KEPT,
    LAST,
    ONE_EACH,
    ONE_NUMBER,
    OPERATION_BYTES,
    OPERATIONS,
    PUT,
    REGISTERS,
    REPEATED,
    ROW_MINIMUM,
    ROW_SUM,
    STEP_BYTES,
    SUM,
    WORD_BYTES,
)
from gpunn.backends.numpy.compiled.kernels import mathematics
from gpunn.backends.numpy.compiled.kernels.activations import mish_parts
from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, constant, fma, rint, where
from gpunn.backends.numpy.compiled.kernels.blocks import (
    Block,
    block_of,
    block_size,
    block_type,
    filled_like,
    first_of,
    lane_numbers,
    largest_of,
    load,
    load_else,
    load_half,
    load_half_else,
    maximum,
    multiply_add,
    store,
    sum_of,
)
from gpunn.backends.numpy.compiled.kernels.columns import transpose_matrix
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, scalar, vector
from gpunn.backends.numpy.compiled.kernels.pointers import (
    FLUSHING,
    flush_subnormals,
    integers,
    pointer,
    set_float_flags,
)
from gpunn.backends.numpy.compiled.kernels.row_groups import maximize_rows, sum_rows
from gpunn.backends.numpy.compiled.kernels.sums import sum_of_row
from gpunn.backends.numpy.compiled.kernels.vectors import (
    I1,
    I32,
    I64,
    TARGET,
    VECTOR_BYTES,
    declared,
    joined,
    permuted,
    spread,
)

HIGH, MIDDLE = 6.28125, 0.0019350051879882812
LOW = 2 * math.pi - HIGH - MIDDLE + 2.4492935982947064e-16
"""Numbers whose sum is 2 pi. HIGH and MIDDLE have few significant bits, so that their products with
small integers are exact in float32."""


VECTORS = 8
"""Number of vectors in an operation's result."""

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
    return where(a > 0, 1, where(a < 0, a.like(-1), a))


def tanh_softplus(a: Number) -> Number:
    """Return tanh(log(1 + e^a)), with one exponential and one division."""
    n, d, _power, _y = mish_parts(a)
    return n / d


FORMULAS: Mapping[str, Callable[..., Number]] = {
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
    "softplus": mathematics.softplus,
    "sin": lambda a: mathematics.sin_of_turns(turns(a)),
    "cos": lambda a: mathematics.cos_of_turns(turns(a)),
    "floor": lambda a: a.call("floor"),
    "round": rint,
    "sign": sign,
    "copy": lambda a: a,
    "square": lambda a: a * a,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": lambda a, b: where(a.equals(a), where(a > b, a, b), a),
    "minimum": lambda a, b: where(a.equals(a), where(a < b, a, b), a),
    "greater": lambda a, b: one_if(a > b, a),
    "at_least": lambda a, b: one_if(a >= b, a),
    "equal": lambda a, b: one_if(a.equals(b), a),
    "where": lambda a, b, c: where(a.equals(0), c, b),
    "multiply_add": fma,
    "multiply_subtract": lambda a, b, c: fma(a, b, -c),
    "subtract_product": lambda a, b, c: fma(-a, b, c),
}


@intrinsic
def apart(context: Any) -> Any:
    """Forbid LLVM to inline the function that is being compiled."""
    # Otherwise LLVM keeps numbers of that function's caller in registers.

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")
        return target.get_dummy_value()

    return types.void(), generate


def number_in(builder: Any, address: Any, index: int) -> Any:
    location = builder.inttoptr(address, I64.as_pointer())
    return builder.load(builder.gep(location, [I64(index)]))


LANES = VECTOR_BYTES // WORD_BYTES
ENTRY_BYTES = 8 + LANES
"""Bytes of a vector's entry in the table of a REPEATED argument."""


def gathered(builder: Any, entry: Any, numbers: Any, count: Any) -> Any:
    """Return a vector of the words listed in `entry`, out of the `count` words at `numbers`.

    Words past the end are 0, and are not read.
    """
    begin, kind = number_in(builder, entry, 0), ir.VectorType(ir.FloatType(), LANES)
    address = builder.add(numbers, builder.mul(begin, I64(WORD_BYTES)))
    pointer = builder.inttoptr(address, kind.as_pointer())
    left = spread(builder, builder.trunc(builder.sub(count, begin), I32), LANES)
    mask = builder.icmp_signed(">", left, lane_numbers(LANES))
    parameters = [pointer.type, I32, ir.VectorType(I1, LANES), kind]
    load = declared(builder.module, f"llvm.masked.load.v{LANES}f32.p0", kind, parameters)
    zeros = ir.Constant(kind, [0.0] * LANES)
    value = builder.call(load, [pointer, I32(WORD_BYTES), mask, zeros])
    bytes_of = ir.VectorType(ir.IntType(8), LANES).as_pointer()
    location = builder.inttoptr(builder.add(entry, I64(8)), bytes_of)
    distances = builder.load(location, align=1)
    return permuted(builder, value, builder.zext(distances, ir.VectorType(I32, LANES)))


def one_each(builder: Any, block: Block, entry: Any, numbers: Any, count: Any) -> Any:
    """Return a vector that repeats one number; `entry` begins with the index of the number.

    If the index is past the end of the numbers, the vector repeats the last number.
    """
    begin, last = number_in(builder, entry, 0), builder.sub(count, I64(block.size // WORD_BYTES))
    begin = builder.select(builder.icmp_signed("<", begin, last), begin, last)
    address = builder.add(numbers, builder.mul(begin, I64(WORD_BYTES)))
    number = builder.load(builder.inttoptr(address, block.element.as_pointer()))
    return spread(builder, number, VECTOR_BYTES // block.size)


class FromMemory(ir.IRBuilder):  # type: ignore[misc]  # llvmlite has no types
    """A builder whose constants are operands in memory: none occupies a register before its use.

    So more registers are free for results, and the processor computes more vectors at a time.
    """

    def __init__(self, builder: Any, kind: Any) -> None:
        super().__init__(builder.block)
        name = f"constants_{kind.element}"
        if name not in self.module.globals:
            table = ir.GlobalVariable(self.module, ir.ArrayType(kind, 0), name)
            table.initializer, table.align = ir.Constant(table.value_type, []), VECTOR_BYTES
            table.global_constant = True
        self._table = self.module.globals[name]
        # If LLVM knew what is at this address, it would load constants into registers.
        hidden = ir.InlineAsm(ir.FunctionType(I64, [I64]), "", "=r,0", side_effect=True)
        self._address = self.call(hidden, [self.ptrtoint(self._table, I64)])

    def constant(self, kind: Any, number: float) -> Any:
        every, new = self._table.initializer.constant, constant(kind, number)
        index = next((k for k, each in enumerate(every) if str(each) == str(new)), len(every))
        every[index:] = every[index:] or [new]
        self._table.value_type = self._table.initializer.type = ir.ArrayType(kind, len(every))
        address = self.add(self._address, I64(index * VECTOR_BYTES))
        return self.load(self.inttoptr(address, kind.as_pointer()), align=VECTOR_BYTES)


def turned(
    builder: Any, begin: Any, end: Any, vectors: Sequence[Any], function: Callable[[Any], Any]
) -> list[Any]:
    """Generate a loop of `end - begin` steps, and return the vectors after the loop.

    Each step removes the first vector v, and appends function(v).
    """
    start, blocks = builder.block, (builder.append_basic_block() for _ in range(3))
    condition, turn, done = blocks
    builder.branch(condition)
    builder.position_at_end(condition)
    k, *moved = phis = [builder.phi(each.type) for each in (begin, *vectors)]
    builder.cbranch(builder.icmp_signed("<", k, end), turn, done)
    builder.position_at_end(turn)
    result = function(moved[0])
    after = builder.add(k, I64(1)), *moved[1:], result
    for phi, before, later in zip(phis, (begin, *vectors), after, strict=True):
        phi.add_incoming(before, start)
        phi.add_incoming(later, builder.block)
    builder.branch(condition)
    builder.position_at_end(done)
    return moved


def by_vectors(builder: Any, name: str, values: Any, count: int, left: Any, is_once: Any) -> Any:
    """Apply the formula `name` to the first `left` vectors in `values`, one after another.

    `values` has `count` vectors. If `is_once`, all vectors are equal: compute one result, and
    return `count` copies.
    """
    numbers = values.type.count // count
    vectors = [
        builder.shuffle_vector(values, values, lane_numbers(numbers, k * numbers))
        for k in range(count)
    ]
    is_part = builder.icmp_signed("<", left, I64(count))
    turns = builder.select(is_once, I64(1), builder.select(is_part, left, I64(count)))

    def formula(x: Any) -> Any:
        own = FromMemory(builder, x.type) if TARGET.name == "x86-64-v3" else builder
        result = FORMULAS[name](Number(own, x)).value
        builder.position_at_end(builder.block)
        return result

    vectors = turned(builder, I64(0), turns, vectors, formula)
    result = vectors[-1]
    moved = turned(
        builder, turns, I64(count), vectors, lambda x: builder.select(is_once, result, x)
    )
    return joined(builder, moved)


def add_up(builder: Any, block: Any, values: Any, left: Any, address: Any) -> None:
    """Add the first `left` numbers in `values` to a block of sums at `address`.

    Number k is added to lane k % block.lanes.
    """
    pointer = builder.inttoptr(address, block.vector.as_pointer())
    total = builder.load(pointer, align=block.size)
    for begin in range(0, values.type.count, block.lanes):
        part = builder.shuffle_vector(values, values, lane_numbers(block.lanes, begin))
        total = builder.fadd(total, first_of(builder, block, part, builder.sub(left, I64(begin))))
    builder.store(total, pointer, align=block.size)


@intrinsic
def run_operations(
    context: Any,
    dtype: Any,
    operation: Any,
    stop: Any,
    whole: Any,
    rows: Any,
    places: Any,
    begin: Any,
    end: Any,
) -> Any:
    # Compute bytes `begin` to `end - 1` of a chain's results, VECTORS vectors at a time. `whole` is
    # the table of places whose arrays have all rows of the tile.
    block = block_type(dtype)
    vectors = min(CHUNK_BYTES // VECTOR_BYTES, VECTORS)
    size = vectors * VECTOR_BYTES
    one = ir.VectorType(block.element, VECTOR_BYTES // block.size)
    kind = ir.VectorType(block.element, vectors * one.count)

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, operation, stop, whole, rows, places, begin, end = arguments
        builder.function.attributes.add("optsize")
        is_once = builder.icmp_signed("==", rows, I64(0))
        with cgutils.for_range_slice(builder, begin, end, I64(size)) as (position, _):
            before = builder.block
            names = "operation", "after", "storing", "unstored", "keeping", "next", "done", "none"
            blocks = map(builder.append_basic_block, names)
            case, after, storing, unstored, keeping, following, done, none = blocks
            builder.branch(case)
            builder.position_at_end(none)
            builder.unreachable()
            builder.position_at_end(case)
            record, accumulated, kept = builder.phi(I64), builder.phi(kind), builder.phi(kind)
            record.add_incoming(operation, before)
            for each in (accumulated, kept):
                each.add_incoming(ir.Constant(kind, ir.Undefined), before)
            cases = builder.switch(number_in(builder, record, 0), none)
            results = list[tuple[Any, Any]]()

            def place(word: int) -> Any:
                return builder.add(places, number_in(builder, record, word))

            def left(size: int) -> Any:
                bytes_left = builder.add(builder.sub(end, position), I64(size - 1))
                return builder.udiv(bytes_left, I64(size))

            def pointer(word: int) -> Any:
                own = place(word)
                moved = builder.mul(position, number_in(builder, own, 1))
                address = builder.add(number_in(builder, own, 0), moved)
                return builder.inttoptr(address, kind.as_pointer())

            def repeated(sort: str) -> Any:
                place = builder.add(whole, number_in(builder, record, 2))
                table = builder.add(record, number_in(builder, record, 3))
                count = builder.mul(rows, number_in(builder, record, 4))
                entry_bytes = 8 if sort == ONE_EACH else ENTRY_BYTES
                first = builder.mul(builder.udiv(position, I64(VECTOR_BYTES)), I64(entry_bytes))
                entry, numbers = builder.add(table, first), number_in(builder, place, 0)
                own = (
                    builder.add(entry, I64(k)) for k in range(0, vectors * entry_bytes, entry_bytes)
                )
                if sort == ONE_EACH:
                    values = [one_each(builder, block, each, numbers, count) for each in own]
                else:
                    values = [gathered(builder, each, numbers, count) for each in own]
                return builder.bitcast(joined(builder, values), kind)

            def argument(sort: str, word: int) -> Any:
                if sort in (REPEATED, ONE_EACH):
                    return repeated(sort)
                if sort == ONE_NUMBER:
                    address = number_in(builder, place(word), 0)
                    location = builder.inttoptr(address, block.element.as_pointer())
                    return spread(builder, builder.load(location), kind.count)
                return builder.load(pointer(word), align=block.size)

            for index, (name, kinds) in enumerate(OPERATIONS):
                builder.position_at_end(builder.append_basic_block(name))
                cases.add_case(I64(index), builder.block)
                word, values = 2, list[Any]()
                for sort in kinds:
                    registers = {LAST: accumulated, KEPT: kept}.get(sort)
                    values.append(registers or argument(sort, word))
                    word += registers is None
                if name == "sum":
                    address = number_in(builder, place(2), 0)
                    add_up(builder, block, accumulated, left(block.size), address)
                    value = accumulated
                elif name in BY_VECTORS:
                    turns = left(VECTOR_BYTES)
                    value = by_vectors(builder, name, accumulated, vectors, turns, is_once)
                else:
                    value = FORMULAS[name](*(Number(builder, each) for each in values)).value
                results.append((value, builder.block))
                builder.branch(after)
            builder.position_at_end(after)
            result = builder.phi(kind)
            for value, source in results:
                result.add_incoming(value, source)
            out = number_in(builder, record, 1)
            builder.cbranch(builder.icmp_signed(">=", out, I64(0)), storing, unstored)
            builder.position_at_end(storing)
            builder.store(result, pointer(1), align=block.size)
            builder.branch(following)
            builder.position_at_end(unstored)
            is_kept = builder.icmp_signed("==", out, I64(REGISTERS))
            builder.cbranch(is_kept, keeping, following)
            builder.position_at_end(keeping)
            builder.branch(following)
            builder.position_at_end(following)
            new = builder.phi(kind)
            for value, source in ((kept, storing), (kept, unstored), (result, keeping)):
                new.add_incoming(value, source)
            kept.add_incoming(new, following)
            next_record = builder.add(record, I64(OPERATION_BYTES))
            record.add_incoming(next_record, following)
            accumulated.add_incoming(result, following)
            builder.cbranch(builder.icmp_unsigned("==", next_record, stop), done, case)
            builder.position_at_end(done)
        return target.get_dummy_value()

    return types.void(dtype, *[types.int64] * 7), generate


@compiled
def run_chain(
    dtype: Any, operation: int, stop: int, whole: int, rows: int, places: int, begin: int, end: int
) -> None:
    apart()
    run_operations(dtype, operation, stop, whole, rows, places, begin, end)


@compiled
def copy_last(dtype: Any, source: int, target: int, first: int, count: int, room: int) -> None:
    """Copy `count` numbers and store zeros after these numbers, at most `room` in total."""
    lanes = block_size(dtype)
    for j in range(0, CHUNK_BYTES // BLOCK_BYTES * lanes, lanes):
        store(load(dtype, source, first + j, count - j), target, first + j, room - j)


@compiled
def copy_result(
    dtype: Any, args: Any, place: int, ends: int, first: int, count: int, backwards: bool
) -> None:
    """Copy numbers `first` to `first + count - 1` of array b to the same indices of array a.

    The addresses of a and b are stored at `place` and `place + ends`. If `backwards`, copy a to b.
    """
    apart()
    result, at_end = scalar(args, place), scalar(args, place + ends)
    if result != at_end and backwards:
        copy_last(dtype, result, at_end, first, count, CHUNK_BYTES)
    elif result != at_end:
        copy_last(dtype, at_end, result, first, count, count)


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
    """Copy `columns` numbers of each row to a result whose rows have `width` numbers."""
    apart()
    row_bytes, offset, integer = integers(pointer(args, step), 4, 3)
    lanes = block_size(dtype)
    size = 8 if integer != 0 else BLOCK_BYTES // lanes
    if width > columns:  # the function PUT
        target, integer, size = target + integer, 0, BLOCK_BYTES // lanes
    source += offset
    if columns < NARROW or integer != 0:
        numbers = vector(dtype, target, rows * width)
        for j in range(columns):
            for row in range(rows):
                address = source + row * row_bytes + j * size
                numbers[row * width + j] = number_at(dtype, args, address, integer)
        return
    if columns <= lanes // 2:
        for row in range(rows):
            part = load_half(dtype, source + row * row_bytes, 0, columns)
            store(part, target, row * width, columns)
        return
    for j in range(0, columns, lanes):
        for row in range(rows):
            some = load(dtype, source + row * row_bytes, j, columns - j)
            store(some, target, row * width + j, columns - j)


@compiled
def reduce_rows(dtype: Any, x: int, result: int, rows: int, columns: int, function: int) -> None:
    apart()
    results, lanes = vector(dtype, result, rows), block_size(dtype)
    number, half = -1 if function == ROW_MINIMUM else 1, load_half(dtype, x, 0, 1)
    sign, lowest = block_of(dtype, number), block_of(dtype, -math.inf)
    half_sign = filled_like(half, number)
    half_lowest = filled_like(half, -math.inf) * half_sign
    is_narrow, many, size = columns <= lanes // 2, lanes // 2, BLOCK_BYTES // lanes
    folded = rows // many * many if columns <= lanes else 0
    for r in range(0, folded, many):
        if function == ROW_SUM:
            sum_rows(half_sign, x + r * columns * size, columns, result + r * size)
        else:
            maximize_rows(half_sign, x + r * columns * size, columns, result + r * size)
    for r in range(folded, rows):
        first = r * columns
        if function == ROW_SUM:
            if is_narrow:
                results[r] = sum_of(load_half(dtype, x, first, columns)) + 0  # never -0
            else:
                results[r] = sum_of_row(dtype, x, first, columns)
        elif is_narrow:
            part = load_half_else(dtype, x, first, columns, half_lowest)
            results[r] = largest_of(half_sign * part)
        else:
            best = sign * load_else(dtype, x, first, columns, sign * lowest)
            for i in range(lanes, columns, lanes):
                part = load_else(dtype, x, first + i, columns - i, sign * lowest)
                best = maximum(best, sign * part)
            results[r] = largest_of(best)
    if function == ROW_MINIMUM:
        for r in range(0, rows, lanes):
            store(sign * load(dtype, result, r, rows - r), result, r, rows - r)


@compiled
def invert(dtype: Any, x: int, result: int) -> float:
    lanes = block_size(dtype)
    inverse = block_of(dtype, 1) / load(dtype, x, 0, lanes)
    for j in range(0, CHUNK_BYTES, BLOCK_BYTES):
        store(inverse, result + j, 0, lanes)
    return float(scalar(dtype, result))


@compiled
def contract(
    dtype: Any, args: Any, axes: int, x: int, y: int, memory: int, result: int, rows: int
) -> None:
    """For each row, sum the products x * y along an axis.

    The function computes several rows together: a block has one number from each of these rows.
    """
    apart()
    lanes = block_size(dtype)
    size = BLOCK_BYTES // lanes
    x_columns, y_columns = integers(pointer(args, axes), 0, 2)
    many_i, x_i, y_i, many_j, x_j, y_j, many_k, x_k, y_k = integers(pointer(args, axes), 2, 9)
    count, x_step, y_step = integers(pointer(args, axes), 11, 3)
    columns = many_i * many_j * many_k
    start = block_of(dtype, -0.0 if count == 1 else 0.0)  # -0 is repeated, but sums are 0
    for row in range(0, rows, lanes):
        left = min(lanes, rows - row)
        numbers, others = memory, y
        source, row_bytes = x + row * x_columns * size, x_columns * size
        transpose_matrix(dtype, source, row_bytes, left, x_columns, numbers, BLOCK_BYTES)
        sums = numbers + x_columns * BLOCK_BYTES
        if y_columns != 0:
            others, source, row_bytes = sums, y + row * y_columns * size, y_columns * size
            transpose_matrix(dtype, source, row_bytes, left, y_columns, others, BLOCK_BYTES)
            sums += y_columns * BLOCK_BYTES
        out = 0
        for i in range(many_i):
            for j in range(many_j):
                for k in range(many_k):
                    a = (i * x_i + j * x_j + k * x_k) * lanes
                    b = (i * y_i + j * y_j + k * y_k) * lanes
                    total = start
                    for _ in range(count):
                        value = load(dtype, numbers, a, lanes)
                        total = multiply_add(value, load(dtype, others, b, lanes), total)
                        a, b = a + x_step * lanes, b + y_step * lanes
                    store(total, sums, out, lanes)
                    out += lanes
        target = result + row * columns * size
        transpose_matrix(dtype, sums, BLOCK_BYTES, columns, left, target, columns * size)


@kernel
def expression(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Run the steps for each tile of a thread's rows; see `interface.STEP_BYTES`."""
    code, given, memory, memory_bytes, ends, steps, once, inputs, numbers = integers(args, 0, 9)
    rows, tile, multiple, operations = integers(args, 9, 4)
    places = memory + thread * memory_bytes
    size = BLOCK_BYTES // block_size(dtype)
    lanes = CHUNK_BYTES // size
    begin, end = partition(rows, multiple, thread, threads)
    top, keeps_subnormals = begin, False
    while top < end or top == begin:
        many = min(tile, end - top)
        for k in range(0 if top == begin else numbers, inputs):
            one = integers(pointer(args, given + k * INPUT_BYTES), 0, 6)
            by_rows, address, row_bytes, integer, place, own = one
            if by_rows != 0:
                address += top * row_bytes
                whole = many * row_bytes // CHUNK_BYTES * CHUNK_BYTES
                # An incomplete last chunk is read from a whole chunk's memory.
                at_end = places + own - whole
                vector(args, places + place, 1)[0] = address
                vector(args, places + ends + place, 1)[0] = at_end
                if by_rows == 1 and many * row_bytes > whole:
                    rest = (many * row_bytes - whole) // size
                    copy_last(dtype, address, at_end, whole // size, rest, lanes)
            else:
                number = number_at(dtype, args, address, integer)
                for j in range(0, CHUNK_BYTES, BLOCK_BYTES):
                    store(block_of(dtype, number), places + own + j, 0, lanes)
        for k in range(0 if top == begin else once, steps):
            step = code + k * STEP_BYTES
            function, columns, out, operand = integers(pointer(args, step), 0, 4)
            (result,) = integers(pointer(args, places + out), 0, 1)
            (x,) = integers(pointer(args, places + operand), 0, 1)
            chunks, left = many * columns // lanes, many * columns % lanes
            if function == INVERSE:
                if invert(dtype, x, result) == 0:  # subnormal, but its products may be normal
                    set_float_flags(flush_subnormals() & ~FLUSHING)
                    keeps_subnormals = True
                    invert(dtype, x, result)
                continue
            if function == CHAIN:
                first_operation, next_operation = integers(pointer(args, step), 4, 2)
                operation = operations + first_operation * OPERATION_BYTES
                next_chain = operations + next_operation * OPERATION_BYTES
                table, first, stop, own_rows = places, 0, chunks * CHUNK_BYTES, many
                if columns == 0:
                    stop, own_rows = CHUNK_BYTES, 0
                for _ in range(1 if left == 0 else 2):
                    run_chain(dtype, operation, next_chain, places, own_rows, table, first, stop)
                    table, first, stop = places + ends, stop, stop + left * size
                if left != 0:
                    for address in range(operation, next_chain, OPERATION_BYTES):
                        (place,) = integers(pointer(args, address), 1, 1)
                        if place >= 0:
                            at = places + place
                            copy_result(dtype, args, at, ends, chunks * lanes, left, False)
                continue
            if function == SUM:
                if top + tile >= end:
                    vector(dtype, result, 1)[0] = sum_of(load(dtype, x, 0, BLOCK_BYTES // size))
                    store(block_of(dtype, 0), x, 0, BLOCK_BYTES // size)
                continue
            if function == COLUMN_SUM:
                for j in range(0, columns, block_size(dtype)):
                    total = block_of(dtype, 0)
                    if top > begin:
                        total = load(dtype, result, j, columns - j)
                    for r in range(many):
                        total = total + load(dtype, x, r * columns + j, columns - j)
                    store(total, result, j, columns - j)
                continue
            if function == CONTRACTION:
                other, axes, own = integers(pointer(args, step), 4, 3)
                (y,) = integers(pointer(args, places + other), 0, 1)
                (temporary,) = integers(pointer(args, places + own), 0, 1)
                axes = operations + axes * OPERATION_BYTES
                contract(dtype, args, axes, x, y, temporary, result, many)
            elif function >= COPY:
                width = columns
                if function == PUT:
                    (row_bytes,) = integers(pointer(args, step), 7, 1)
                    width = row_bytes // size
                    chunks, left = many * width // lanes, many * width % lanes
                copy_rows(dtype, args, step, x, result, many, columns, width)
            else:
                chunks, left = many // lanes, many % lanes
                reduce_rows(dtype, x, result, many, columns, function)
            if left != 0:
                copy_result(dtype, args, places + out, ends, chunks * lanes, left, True)
        top += tile
    if keeps_subnormals:
        flush_subnormals()
