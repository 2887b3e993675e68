"""Blocks of a column: each lane has the column's number from a different row.

With such blocks, a kernel sums many rows together. In a single short row, each addition would wait
for the previous one, and a division for the sum. A row's sum has the same order for all vector
sizes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.blocks import Block, block_type, if_whole
from gpunn.backends.numpy.compiled.kernels.vectors import I1, I32, I64, declared, spread


def pointers_to(builder: Any, block: Block, address: Any, first: Any, stride: Any) -> Any:
    kind = ir.VectorType(I64, block.lanes)
    lanes = kind([I64(lane) for lane in range(block.lanes)])
    steps = builder.mul(lanes, spread(builder, builder.mul(stride, I64(block.size)), block.lanes))
    start = builder.add(address, builder.mul(first, I64(block.size)))
    addresses = builder.add(steps, spread(builder, start, block.lanes))
    return builder.inttoptr(addresses, ir.VectorType(block.element.as_pointer(), block.lanes))


@intrinsic
def load_column(context: Any, dtype: Any, address: Any, first: Any, stride: Any, count: Any) -> Any:
    """Return `count` numbers at `first`, `first + stride`, ... as a block; fill the rest with 0."""
    block = block_type(dtype)

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, address, first, stride, count = arguments
        pointers = pointers_to(builder, block, address, first, stride)
        mask = ir.VectorType(I1, block.lanes)
        parameters = [pointers.type, I32, mask, block.vector]
        name = f"llvm.masked.gather.{block.suffix}.v{block.lanes}p0"
        gather = declared(builder.module, name, block.vector, parameters)

        def load(mask: Any) -> Any:
            return builder.call(gather, [pointers, I32(block.size), mask, block.zeros])

        return if_whole(builder, block, count, lambda: load(mask([I1(1)] * block.lanes)), load)

    return block(dtype, *[types.int64] * 4), generate


@intrinsic
def store_column(
    context: Any, block: Any, address: Any, first: Any, stride: Any, count: Any
) -> Any:
    """Write lane k of a block to index `first + k * stride` of the array at `address`.

    Only lanes k < `count` are written.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, address, first, stride, count = arguments
        pointers = pointers_to(builder, block, address, first, stride)
        mask = ir.VectorType(I1, block.lanes)
        parameters = [block.vector, pointers.type, I32, mask]
        name = f"llvm.masked.scatter.{block.suffix}.v{block.lanes}p0"
        scatter = declared(builder.module, name, ir.VoidType(), parameters)

        def write(mask: Any) -> Any:
            return builder.call(scatter, [value, pointers, I32(block.size), mask])

        if_whole(builder, block, count, lambda: write(mask([I1(1)] * block.lanes)), write)
        return target.get_dummy_value()

    return types.void(block, *[types.int64] * 4), generate
