"""Blocks: the values that kernels compute with. A block is a few vector registers of numbers.

numba vectorizes a loop only if no operation depends on the previous one. In a sum, each addition
depends on the previous one, because another order would round differently. A block has the same
number of lanes (numbers) on all processors, and the numbers are added in a fixed order, so results
are bitwise identical on all processors. The end of a row needs no separate loop: lanes without a
number are neither read nor written.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.core.typing.templates import signature as signature_of
from numba.extending import intrinsic, lower_builtin, register_model

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.kernels.vectors import I1, I32, I64, declared, spread

ROWS = 4
"""Number of rows that are processed together. A processor prefetches about this number of memory
streams, and more rows could evict each other from the cache."""


class Block(types.Type):  # type: ignore[misc]  # numba has no types
    def __init__(self, number: types.Number, lanes: int) -> None:
        self.number, self.lanes, self.size = number, lanes, number.bitwidth // 8
        floats = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
        self.element = floats.get(number) or ir.IntType(number.bitwidth)
        self.vector = ir.VectorType(self.element, lanes)
        self.zeros = ir.Constant(self.vector, [self.element(0)] * lanes)
        self.suffix = f"v{lanes}{'f' if number in floats else 'i'}{number.bitwidth}"
        super().__init__(name=f"Block({number} x {lanes})")


SINGLE = Block(types.float32, BLOCK_BYTES // 4)
DOUBLE = Block(types.float64, BLOCK_BYTES // 8)
WIDENED = Block(types.float64, SINGLE.lanes)
HALVES = [Block(block.number, block.lanes // 2) for block in (SINGLE, DOUBLE)]
BITS = [Block(types.uint32, lanes) for lanes in (SINGLE.lanes, DOUBLE.lanes)]


@register_model(Block)
class BlockModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, block: Block) -> None:
        super().__init__(manager, block, block.vector)


def define_operator(symbol: Any, instruction: str, blocks: Sequence[Block]) -> None:
    @infer_global(symbol)
    class Typing(ConcreteTemplate):  # type: ignore[misc]
        cases: ClassVar = [signature_of(block, block, block) for block in blocks]

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)

    for block in blocks:
        lower_builtin(symbol, block, block)(generate)


define_operator(operator.add, "fadd", (SINGLE, DOUBLE, WIDENED, *HALVES))
define_operator(operator.sub, "fsub", (SINGLE, DOUBLE, WIDENED, *HALVES))
define_operator(operator.mul, "fmul", (SINGLE, DOUBLE, WIDENED, *HALVES))
define_operator(operator.truediv, "fdiv", (SINGLE, DOUBLE, WIDENED, *HALVES))
define_operator(operator.mul, "mul", BITS)
define_operator(operator.xor, "xor", BITS)
define_operator(operator.rshift, "lshr", BITS)


def block_type(dtype: Any) -> Block:
    return SINGLE if dtype.dtype == types.float32 else DOUBLE


def lane_numbers(lanes: int, first: int = 0) -> ir.Constant:
    return ir.VectorType(I32, lanes)([I32(first + lane) for lane in range(lanes)])


def if_whole(
    builder: Any, block: Block, count: Any, whole: Callable[[], Any], part: Callable[[Any], Any]
) -> Any:
    is_whole = builder.icmp_signed(">=", count, I64(block.lanes))
    with builder.if_else(is_whole, likely=True) as (then, otherwise):
        with then:
            value, after_whole = whole(), builder.block
        with otherwise:
            counts = spread(builder, builder.trunc(count, I32), block.lanes)
            partial = part(builder.icmp_signed("<", lane_numbers(block.lanes), counts))
            after_part = builder.block
    if value.type == ir.VoidType():
        return None
    result = builder.phi(value.type)
    result.add_incoming(value, after_whole)
    result.add_incoming(partial, after_part)
    return result


def pointer_to(builder: Any, block: Block, address: Any, index: Any) -> Any:
    first = builder.gep(builder.inttoptr(address, block.element.as_pointer()), [index])
    return builder.bitcast(first, block.vector.as_pointer())


@intrinsic
def block_size(context: Any, dtype: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return I64(block_type(dtype).lanes)

    return types.int64(dtype), generate


def filled(block: Block, like: Any, value: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = target.cast(builder, arguments[1], value, block.number)
        return spread(builder, number, block.lanes)

    return block(like, value), generate


@intrinsic
def block_of(context: Any, dtype: Any, value: Any) -> Any:
    return filled(block_type(dtype), dtype, value)


@intrinsic
def filled_like(context: Any, block: Any, value: Any) -> Any:
    return filled(block, block, value)


def loaded(
    builder: Any, block: Block, address: Any, index: Any, count: Any, other: Any = None
) -> Any:
    # The instructions of `load_else`, or of `load` if `other` is None.
    pointer = pointer_to(builder, block, address, index)
    parameters = [pointer.type, I32, ir.VectorType(I1, block.lanes), block.vector]
    name = f"llvm.masked.load.{block.suffix}.p0"
    masked = declared(builder.module, name, block.vector, parameters)
    return if_whole(
        builder,
        block,
        count,
        lambda: builder.load(pointer, align=block.size),
        lambda mask: builder.call(masked, [pointer, I32(block.size), mask, other or block.zeros]),
    )


@intrinsic
def bits_of(context: Any, dtype: Any, value: Any) -> Any:
    return filled(Block(types.uint32, block_type(dtype).lanes), dtype, types.int64)


@intrinsic
def counted_from(context: Any, dtype: Any, start: Any) -> Any:
    block = Block(types.uint32, block_type(dtype).lanes)

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first = spread(builder, builder.trunc(arguments[1], I32), block.lanes)
        return builder.add(first, lane_numbers(block.lanes))

    return block(dtype, types.int64), generate


@intrinsic
def where_at_least(context: Any, bits: Any, limit: Any, there: Any, elsewhere: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits, limit, there, elsewhere = arguments
        return builder.select(builder.icmp_unsigned(">=", bits, limit), there, elsewhere)

    return there(bits, bits, there, there), generate


@intrinsic
def load(context: Any, dtype: Any, address: Any, index: Any, count: Any) -> Any:
    """Load a block from an array's element `index` on; lanes after the first `count` are 0."""
    block = block_type(dtype)

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return loaded(builder, block, *arguments[1:])

    return block(dtype, *[types.int64] * 3), generate


@intrinsic
def load_else(context: Any, dtype: Any, address: Any, index: Any, count: Any, other: Any) -> Any:
    block = block_type(dtype)

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return loaded(builder, block, *arguments[1:])

    return block(dtype, *[types.int64] * 3, block), generate


@intrinsic
def load_half(context: Any, dtype: Any, address: Any, index: Any, count: Any) -> Any:
    half = HALVES[block_type(dtype) == DOUBLE]

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return loaded(builder, half, *arguments[1:])

    return half(dtype, *[types.int64] * 3), generate


@intrinsic
def load_half_else(
    context: Any, dtype: Any, address: Any, index: Any, count: Any, other: Any
) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return loaded(builder, other, *arguments[1:])

    return other(dtype, *[types.int64] * 3, other), generate


@intrinsic
def load_integers(context: Any, dtype: Any, kind: Any, address: Any, index: Any, count: Any) -> Any:
    block, integers = block_type(dtype), kind.instance_type

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = loaded(builder, Block(integers, block.lanes), *arguments[2:])
        return (builder.sitofp if integers.signed else builder.uitofp)(value, block.vector)

    return block(dtype, kind, *[types.int64] * 3), generate


@intrinsic
def store(context: Any, block: Any, address: Any, index: Any, count: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, address, index, count = arguments
        pointer = pointer_to(builder, block, address, index)
        parameters = [block.vector, pointer.type, I32, ir.VectorType(I1, block.lanes)]
        name = f"llvm.masked.store.{block.suffix}.p0"
        masked = declared(builder.module, name, ir.VoidType(), parameters)
        if_whole(
            builder,
            block,
            count,
            lambda: builder.store(value, pointer, align=block.size),
            lambda mask: builder.call(masked, [value, pointer, I32(block.size), mask]),
        )
        return target.get_dummy_value()

    return types.void(block, *[types.int64] * 3), generate


def first_of(builder: Any, block: Block, value: Any, count: Any) -> Any:
    def masked(mask: Any) -> Any:
        return builder.select(mask, value, block.zeros)

    return if_whole(builder, block, count, lambda: value, masked)


@intrinsic
def only_first(context: Any, block: Any, count: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return first_of(builder, block, *arguments)

    return block(block, types.int64), generate


@intrinsic
def widened(context: Any, block: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        return value if block == DOUBLE else builder.fpext(value, WIDENED.vector)

    return (DOUBLE if block == DOUBLE else WIDENED)(block), generate


def lane_by_lane(name: str, block: Block, operands: int) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name_of_all = f"llvm.{name}.{block.suffix}"
        parameters = [block.vector] * operands
        return builder.call(
            declared(builder.module, name_of_all, block.vector, parameters), arguments
        )

    return block(*[block] * operands), generate


@intrinsic
def multiply_add(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once."""
    return lane_by_lane("fma", a, 3)


@intrinsic
def maximum(context: Any, a: Any, b: Any) -> Any:
    """Return the larger number of each lane, or NaN if either is NaN."""
    return lane_by_lane("maximum", a, 2)


@intrinsic
def minimum(context: Any, a: Any, b: Any) -> Any:
    """Return the smaller number of each lane, or NaN if either is NaN."""
    return lane_by_lane("minimum", a, 2)


@intrinsic
def square_root(context: Any, block: Any) -> Any:
    return lane_by_lane("sqrt", block, 1)


def folded(builder: Any, block: Block, value: Any, combine: Callable[[Any, Any], Any]) -> Any:
    half = block.lanes
    while half > 1:
        half //= 2
        first, second = (
            builder.shuffle_vector(value, value, lane_numbers(half, start)) for start in (0, half)
        )
        value = combine(first, second)
    return builder.extract_element(value, I32(0))


@intrinsic
def sum_of(context: Any, block: Any) -> Any:
    """Return the sum of a block's lanes: add the upper half to the lower until one lane is left."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return folded(builder, block, arguments[0], builder.fadd)

    return block.number(block), generate


@intrinsic
def largest_of(context: Any, block: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        (value,) = arguments
        # One test for NaN in all lanes takes fewer instructions than `maximum` for each fold.
        unordered = builder.fcmp_unordered("uno", value, value)
        found = builder.bitcast(unordered, ir.IntType(block.lanes))
        any_nan = builder.icmp_unsigned("!=", found, found.type(0))
        largest = folded(builder, block, value, larger)
        return builder.select(any_nan, largest.type(math.nan), largest)

    return block.number(block), generate
