"""How each matrix product of a program is done, by its sizes and the BLAS there is.

The limits are measured ones: `scripts/benchmark.py gemm` and docs/benchmarks.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from gpunn.backends.numpy.blas import Blas
from gpunn.backends.numpy.compiled.kernel import MAX_ARGS
from gpunn.backends.numpy.compiled.panels import PACK, PANEL
from gpunn.backends.numpy.compiled.products import (
    BLAS,
    PACKED,
    PRODUCT,
    PRODUCT_ARGS,
    SPLIT_K,
    SUM_SPLITS,
    TILES,
    TRANSPOSED_PANELS,
    TRANSPOSED_PRODUCT,
    TRANSPOSED_RESULT,
)
from gpunn.backends.numpy.compiled.program import Instruction, address, encoded
from gpunn.backends.numpy.compiled.tiles import TILE_ROWS
from gpunn.backends.numpy.compiled.vectors import VECTOR_BYTES
from gpunn.backends.numpy.memory import zeros
from gpunn.typing import Array

__all__ = ["ProductPlans"]

NO_TRANSPOSE, TRANSPOSE = 111, 112
"""CBLAS's names."""

CACHED = 1 << 18
"""Bytes of a matrix that stay in a core's cache while others pass through it."""

SKINNY = 160
"""Rows of a batch up to which a BLAS, which copies its operands first, takes longer than tiles."""

NARROW = 512
"""Columns of B up to which tiles are as fast as a BLAS for any number of rows; and terms up to
which a panel of a transposed B stays in the first cache."""

ONE_ROW = 1 << 17
"""Numbers in B from which on threads divide the terms of a single row's product among them."""

FEW_TERMS, SMALL_RESULT = 64, 1 << 15
"""Terms, and numbers in a gradient of weights, up to which putting B into panels takes longer than
it saves."""

LARGE_RESULT = 1 << 19
"""Numbers in C from which on it should be written row by row, which panels allow."""

APART = 1 << 19
"""Bytes that the terms done at a time may span in a matrix, so that a tile still finds each row in
the cache: rows that lie a power of two apart push each other out of it."""

LONG_ROW = 1 << 15
"""Bytes of a row of A up to which tiles are faster than a BLAS with vectors half as wide. That
divides longer sums; tiles would fetch all of B again for every few rows."""

MOST_ROWS = 8 * TILE_ROWS
"""Rows done at a time, at most: more of A would not stay in the cache."""


def rows_within(size: int, row_bytes: int) -> int:
    """Return how many rows to do at a time: whole tiles that fit, if possible."""
    return max(TILE_ROWS, min(MOST_ROWS, size // (row_bytes * TILE_ROWS) * TILE_ROWS))


@dataclass
class Operand:
    """A matrix in memory, or the transpose of one.

    Attributes
    ----------
    place, row, column : int
        Its address, and its strides in bytes.
    panel : int
        Bytes from its first panel, the columns that a tile takes, to the next one.
    """

    place: int
    row: int
    column: int
    panel: int = PANEL

    @classmethod
    def of(cls, array: Array, transposed: bool) -> Operand:
        size = array.itemsize
        row = array.shape[1] * size
        return cls(address(array), *((size, row) if transposed else (row, size)))

    @property
    def transposed(self) -> Operand:
        """Its transpose."""
        return Operand(self.place, self.column, self.row)


@dataclass
class ProductPlans:
    """Makes instructions of products.

    Attributes
    ----------
    threads : int
        Threads of the team.
    blas : Blas or None
        Which products may be left to.
    most : int
        Bytes that the panels of an operand can take.
    uses_blas : bool
        Whether one of the products so far is left to it.
    gradients : list of array
        Results of those that had a transposed A: gradients of weights.
    """

    threads: int
    blas: Blas | None
    most: int
    uses_blas: bool = False
    gradients: list[Array] = field(default_factory=list)
    _panels: Array | None = None

    def encode(
        self,
        a: Array,
        b: Array,
        out: Array,
        transpose_a: bool = False,
        transpose_b: bool = False,
        bias: Array | None = None,
        floor: float = -math.inf,
    ) -> list[Instruction]:
        """Return what sets out = max(bias + a b, floor), with a or b transposed if asked for.

        Parameters
        ----------
        a : array of shape (m, k), or (k, m) if it is to be transposed
        b : array of shape (k, n), or (n, k) if it is to be transposed
        out : array of shape (m, n)
        transpose_a, transpose_b : bool
            Not both.
        bias : array of shape (n,), optional
            Only if neither is transposed, as is a floor.
        floor : float
            0 for ReLU.
        """
        size = out.itemsize
        m, n = out.shape
        k = a.shape[0] if transpose_a else a.shape[1]
        panel = PANEL // size
        method = self._method(m, n, k, transpose_a, transpose_b, panel)
        if transpose_a:
            self.gradients.append(out)
        # Tiles add to something: where there is no bias, to zeros, at least as many as a tile has.
        initial = np.zeros(max(m, n, panel), out.dtype) if bias is None else bias
        left, right = Operand.of(a, transpose_a), Operand.of(b, transpose_b)
        instructions: list[Instruction] = []
        read = [a, b, initial]
        rows, terms, numbers = m, k, 0
        if method == TILES and transpose_a:
            rows = rows_within(CACHED, n * size)
        elif method == TILES:
            rows, terms = MOST_ROWS, max(64, APART // (n * size))
        elif method == SPLIT_K:
            numbers = n
        elif method == TRANSPOSED_PANELS:
            numbers = k * panel
        elif method == TRANSPOSED_RESULT:
            terms = max(64, APART // (m * size))
            numbers = m * n
        elif method == TRANSPOSED_PRODUCT:
            rows = rows_within(2 * CACHED, k * size)
            numbers = m * rows
            instructions.append(self._packed(a, left.transposed, m, k))
            left = Operand(address(instructions[0].writes[0]), PANEL, size)
            read = [*instructions[0].writes, b, initial]
        elif method == PACKED:
            rows = rows_within(CACHED, max(k, n) * size)
            numbers = k * rows
            instructions.append(self._packed(b, right, n, k))
            right = Operand(address(instructions[0].writes[0]), PANEL, size, k * PANEL)
            read = [a, *instructions[0].writes, initial]
        buffer_bytes = -(-numbers * size // 64) * 64
        buffer = np.empty(
            (1 if method == TRANSPOSED_RESULT else self.threads) * buffer_bytes, np.uint8
        )
        if buffer_bytes:
            read.append(buffer)
        args: dict[str, Any] = dict.fromkeys(PRODUCT_ARGS, 0)
        args |= {"method": method, "size": size, "m": m, "n": n, "k": k}
        args |= {"a": left.place, "a_row": left.row, "a_column": left.column}
        args |= {"b": right.place, "b_row": right.row, "b_column": right.column}
        args |= {"b_panel": right.panel, "initial": initial}
        args |= {"c": out, "c_row": n * size, "floor": floor}
        args |= {"rows": rows, "terms": terms}
        args |= {"buffer": buffer, "buffer_bytes": buffer_bytes}
        args["by_columns"] = not transpose_a and m <= n and n >= self.threads * panel
        if method == SPLIT_K:
            return self._split_k(args, a, b, initial, buffer, out)
        if method == BLAS:
            args |= self._for_blas(a, b, transpose_a, transpose_b)
            args["unfinished"] = bias is not None or floor > -math.inf
        product = Instruction(PRODUCT, [*args.values()], read, [out])
        if method in (TILES, PACKED) and transpose_a:
            product = replace(product, fuse=partial(self._with_update, product, args))
        return [*instructions, product]

    def _for_blas(self, a: Array, b: Array, transpose_a: bool, transpose_b: bool) -> dict[str, int]:
        """Return the arguments that only a BLAS needs."""
        assert self.blas is not None
        self.uses_blas = True
        return {
            "blas_function": self.blas.products[a.dtype.name],
            "blas_wide": self.blas.wide,
            "trans_a": TRANSPOSE if transpose_a else NO_TRANSPOSE,
            "trans_b": TRANSPOSE if transpose_b else NO_TRANSPOSE,
            "a_length": a.shape[1],
            "b_length": b.shape[1],
        }

    def _split_k(
        self, args: dict[str, Any], a: Array, b: Array, initial: Array, splits: Array, out: Array
    ) -> list[Instruction]:
        """Return what sums up some of the terms on each thread, and adds these sums."""
        more = [splits, args["buffer_bytes"], self.threads, initial, out]
        more += [args["n"], args["size"], args["floor"]]
        nothing = np.zeros(args["n"] + PANEL, out.dtype)
        args["initial"] = nothing
        return [
            Instruction(PRODUCT, [*args.values()], [a, b, nothing], [splits]),
            Instruction(SUM_SPLITS, more, [splits, initial], [out]),
        ]

    def _method(
        self, m: int, n: int, k: int, transpose_a: bool, transpose_b: bool, panel: int
    ) -> int:
        if transpose_a:
            if 2 * n <= panel and k >= 128 and m >= 512:
                return TRANSPOSED_RESULT
            few = k <= panel // 2 or (k <= FEW_TERMS and n < NARROW)
            return TILES if few or m * n <= SMALL_RESULT else PACKED
        if transpose_b:
            if k <= panel and m * n >= LARGE_RESULT:
                return PACKED
            if k > NARROW and m <= SKINNY and n >= self.threads * max(m, panel):
                return TRANSPOSED_PRODUCT
            return BLAS if k > NARROW and self._blas_pays(k * PANEL // panel) else TRANSPOSED_PANELS
        if m == 1 < self.threads <= k and k * n >= ONE_ROW:
            return SPLIT_K
        if m <= SKINNY or n < 256 or (n <= NARROW and m < 256):
            return TILES
        return BLAS if n > NARROW and self._blas_pays(k * PANEL // panel) else PACKED

    def _blas_pays(self, row_bytes: int) -> bool:
        """Return whether a BLAS is as fast for large matrices, A having rows of `row_bytes`."""
        if self.blas is None:
            return False
        wide = (self.blas.vector_bytes or VECTOR_BYTES) >= VECTOR_BYTES
        return wide or row_bytes > LONG_ROW

    def _packed(self, array: Array, operand: Operand, columns: int, rows: int) -> Instruction:
        """Return what copies an operand into panels, in memory that all products use in turn."""
        size = array.itemsize
        if self._panels is None:
            self._panels = zeros((self.most,), "uint8")
        args = [size, rows, columns, operand.place, operand.row, operand.column, self._panels]
        panels = self._panels[: rows * -(-columns * size // PANEL) * PANEL]
        assert panels.size == rows * -(-columns * size // PANEL) * PANEL, "more than promised"
        return Instruction(PACK, args, [array], [panels])

    def _with_update(
        self, product: Instruction, args: dict[str, Any], update: Instruction
    ) -> Instruction:
        """Return a product and the update that takes its result, done together row by row.

        So the update finds the gradients in the cache. Those of a repetition that others follow
        need not go to memory at all.
        """
        update_args = np.zeros(MAX_ARGS, np.int64)
        update_args[: len(update.args)] = [encoded(each) for each in update.args]
        args_buffer = np.empty((self.threads, MAX_ARGS), np.int64)
        result = product.writes[0]
        own = np.empty((self.threads, args["rows"] * args["n"]), result.dtype)
        last = args | {
            "update": update.kernel.address(update.dtype),
            "update_args": update_args,
            "args_buffer": args_buffer,
        }
        non_final = last | {"c": own, "c_thread": own[0].nbytes}
        return Instruction(
            PRODUCT,
            [*last.values()],
            [*product.reads, *update.reads[1:], update_args, args_buffer, own],
            [*product.writes, *update.writes],
            non_final=[*non_final.values()],
        )
