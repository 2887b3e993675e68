"""The base class and helper functions of all lowerings to compiled kernels."""

from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.product_plans import ProductPlans
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.memory import contiguous
from gpunn.typing import Array

Steps: TypeAlias = list[Instruction] | None
"""The result of lowering an operation: instructions in order. None means that no kernel can compute
it, for example because a loss is custom, or an array not contiguous."""

LEAST = 1 << 12
"""Minimum bytes of a piece. For smaller pieces, the calls of kernels would take too long."""


def same_kind(*arrays: Array) -> bool:
    return contiguous(*arrays) and arrays[0].dtype in (np.float32, np.float64)


def present(*arrays: Array | None) -> list[Array]:
    return [array for array in arrays if array is not None]


class Lowerings:
    """Base class of lowerings: a method with an operation's name lowers that operation.

    Each thread divides its images into `pieces` parts. `unread` has the ids of preactivations z
    that only activations read. `slopes` has the ids of arrays z that f'(z) overwrites.
    """

    def __init__(
        self,
        threads: int,
        products: ProductPlans,
        pieces: int = 1,
        images: int = 0,
        unread: Collection[int] = (),
    ) -> None:
        self.threads, self.products, self.pieces, self.images = threads, products, pieces, images
        self.unread, self.slopes = unread, set[int]()

    def pieces_of(self, *arrays: Array) -> int:
        parts = self.threads * self.pieces
        is_large = max((each.nbytes for each in arrays), default=0) >= parts * LEAST
        return self.pieces if is_large and all(len(each) >= parts for each in arrays) else 1

    def rows_per_image(self, x: Array) -> int:
        return len(x) // self.images if self.images and len(x) % self.images == 0 else 1

    def by_images(self, *arrays: Array) -> list[Array]:
        return [x if self.rows_per_image(x) == 1 else x.reshape(self.images, -1) for x in arrays]

    def parts_of(self, x: Array) -> int:
        return self.threads * self.pieces_of(x)

    def instruction(
        self,
        kernel: str,
        args: Sequence[float | Array | None],
        reads: Sequence[Array],
        writes: Sequence[Array],
        by_rows: Sequence[Array] = (),
    ) -> Instruction:
        pieces = self.pieces_of(*by_rows)
        return Instruction(kernel, args, reads, writes, by_rows, in_pieces=pieces > 1)

    def divided(self, x: Array, out: Array) -> tuple[tuple[int, int, int], list[Array]]:
        """Return sizes and `by_rows`, which divide x among threads by rows or by columns.

        The threads divide x in the same way as in the product that wrote x.
        """
        rows, columns = x.shape[0], x.size // max(x.shape[0], 1)
        by_columns = self.products.is_by_columns(x)
        self.products.divide(out, by_columns)
        if by_columns:
            return (rows, columns, BLOCK_BYTES // x.itemsize), []
        return (1, x.size, max(columns, 1)), [x, out]

    def weighted_sum(self, values: Array, weights: Array | None, out: Array) -> Instruction:
        """Return an instruction for out = out + sum_i weights_i * values_i."""
        read = [values, out] if weights is None else [values, weights, out]
        return Instruction("sum_up", [values, weights, values.size, out, 1], read, [out])
