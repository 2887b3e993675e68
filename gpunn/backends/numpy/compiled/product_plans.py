"""Choose how to compute each matrix product of a program, from its sizes.

The limits in this module were measured with `scripts/benchmark.py gemm` and `grid`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.interface import (
    BLOCK_BYTES,
    DOTS,
    MAX_ARGS,
    PACKED,
    TILES,
    TRANSPOSED_PANELS,
    TRANSPOSED_PRODUCT,
    ProductArgs,
    Vectors,
)
from gpunn.backends.numpy.compiled.library import loaded_library
from gpunn.backends.numpy.compiled.program import Instruction, pack, sum_rows
from gpunn.backends.numpy.memory import zeros
from gpunn.typing import Array

CACHED = 1 << 18
"""Bytes of a matrix that stays in a core's cache while other data passes through the cache."""

SKINNY = 160
"""For batches of up to this many rows, copying an operand takes longer than the copy saves."""

NARROW = 512
"""If B has at most this many columns, panels save no time, even for somewhat more than SKINNY rows.
If B is transposed, a panel of at most this many terms stays in the L1 cache."""

FEW_COLUMNS = 4
"""If C has at most this many columns, the vectors of tiles would be mostly empty."""

FEW_TERMS, SMALL_RESULT = 64, 1 << 15
"""For a gradient of weights, copying B into panels takes too long if the batch has at most
FEW_TERMS rows, or if the gradient has at most SMALL_RESULT elements."""

LARGE_RESULT = 1 << 19
"""If C has at least this many elements, a transposed B is copied into panels, so that C is written
row by row."""

TERMS_SPAN = 1 << 19
"""Maximum bytes of an operand to read in one pass over the terms. In a larger range, rows whose
distance is a power of two would evict each other from the cache."""

SHARED = 1 << 19
"""Maximum bytes of B if the threads divide the rows of A, because each thread then reads all of
B."""

MIN_ROWS = 28
"""If each thread would have fewer rows, the threads divide the columns instead, if possible. These
rows fill at least two tiles. The order of sums in gradients of biases depends on this number, so it
is the same for all processors."""

LATENCY, TRANSPOSE = 8, 128
"""Number of vectors that a processor adds in the time of one addition's latency, and in the time of
transposing a square with the length of a vector."""

MAX_TILES = 8
"""Maximum number of tiles whose rows are processed together. More rows of A would not stay in the
cache."""


class Operand(NamedTuple):
    """A matrix; `row`, `column` and `panel` are bytes from one row, column or panel to the next."""

    array: Array
    row: int
    column: int
    panel: int

    @property
    def transposed(self) -> Operand:
        return Operand(self.array, self.column, self.row, self.panel)


@dataclass
class ProductPlans:
    threads: int
    panel_capacity: int
    """Maximum size in bytes of an operand's panels."""
    vectors: Vectors
    gradients: list[Array] = field(default_factory=list)
    """Gradients of weights, which are the results of products with a transposed A."""
    by_columns: set[int] = field(default_factory=set)
    """Addresses of the arrays that the threads divide by columns instead of rows."""
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
        """Return instructions for out = max(bias + a b, floor).

        At most one operand may be transposed, and none if there is a bias or a floor.
        """
        size = out.itemsize
        m, n = out.shape
        k = a.shape[0] if transpose_a else a.shape[1]
        panel_bytes = self.vectors.panel
        method = self._method(m, n, k, size, transpose_a, transpose_b)
        panel = panel_bytes // size
        by_columns = not transpose_a and self._divides_columns(m, n, k, size)
        by_terms = transpose_a and self._divides_terms(a, b, out)
        self.divide(out, by_columns)
        if transpose_a and method != TRANSPOSED_PRODUCT:
            self.gradients.append(out)
        # Tiles add to initial values: the bias, or at least as many zeros as a tile has columns.
        initial = np.zeros(max(m, n, panel), out.dtype) if bias is None else bias
        left, right = self._operand(a, transpose_a), self._operand(b, transpose_b)
        instructions: list[Instruction] = []
        read = [a, b, initial]
        rows, terms, numbers = m, k, 0
        if method == TILES and transpose_a:
            rows = self._rows_within(CACHED, n * size)
        elif method == TILES:
            rows, terms = MAX_TILES * self.vectors.tile_rows, max(64, TERMS_SPAN // (n * size))
        elif method == TRANSPOSED_PANELS:
            numbers = k * panel
        elif method == DOTS and n > 1:
            numbers = n * k
        elif method == TRANSPOSED_PRODUCT:
            rows = n if transpose_a else self._rows_within(2 * CACHED, k * size)
            numbers = m * rows
            left = left.transposed
            if not transpose_a:
                instructions.append(self._packed(a, left, m, k))
                left = Operand(instructions[0].writes[0], panel_bytes, size, panel_bytes)
                right = right._replace(panel=k * panel_bytes)
                read = [*instructions[0].writes, b, initial]
        elif method == PACKED:
            rows = self._rows_within(CACHED, max(k, n) * size)
            numbers = k * rows
            instructions.append(self._packed(b, right, n, k))
            right = Operand(instructions[0].writes[0], panel_bytes, size, k * panel_bytes)
            read = [a, *instructions[0].writes, initial]
        buffer_bytes = -(-numbers * size // 64) * 64
        buffer = zeros((self.threads * buffer_bytes,), "uint8")
        if buffer_bytes:
            read.append(buffer)
        if transpose_a and n == 1:
            # A column has the layout of a row, and C.T = B.T A has no empty vectors.
            left, right, m, n = right.transposed, left.transposed, 1, m
            method, by_columns = TILES, not by_terms
        args = ProductArgs(
            method=method,
            by_columns=by_columns,
            by_terms=by_terms,
            size=size,
            m=m,
            n=n,
            k=k,
            a=left.array,
            a_row=left.row,
            a_column=left.column,
            b=right.array,
            b_row=right.row,
            b_column=right.column,
            b_panel=right.panel,
            initial=initial,
            c=out,
            c_row=n * size,
            floor=floor,
            rows=rows,
            terms=terms,
            buffer=buffer,
            buffer_bytes=buffer_bytes,
        )
        whole_rows = not by_columns and not transpose_a and method != TRANSPOSED_PRODUCT
        by_rows = [a, out] if whole_rows else []
        product = Instruction("product", args, read, [out], by_rows)
        if by_terms:
            # Each thread reads only its rows of the batch, so it need not wait for other threads.
            parts = np.empty((self.threads, out.size), out.dtype)
            args = args._replace(c=parts, c_thread=parts[0].nbytes)
            product = Instruction("product", args, read, [parts], [a, b])
            return [*instructions, product, sum_rows(parts, out)]
        if method in (TILES, PACKED) and transpose_a and not by_columns:
            product = replace(product, fuse=partial(self._with_update, product, args))
        return [*instructions, product]

    def encode_groups(
        self,
        a: Array,
        b: Array,
        out: Array,
        transpose_a: bool = False,
        transpose_b: bool = False,
        bias: Array | None = None,
        floor: float = -math.inf,
    ) -> list[Instruction]:
        """Return instructions for a[:, i] @ b[i] for each group i; `bias` has shape (groups, n).

        With `transpose_a`, the products are a[:, i].T @ b[:, i]; with `transpose_b`, the second
        factor is transposed.
        """
        size, (rows, groups, inputs) = out.itemsize, a.shape
        k = rows if transpose_a else inputs
        m, n = (inputs if transpose_a else rows), out.shape[2]
        panel = self.vectors.panel
        left = Operand(a, groups * inputs * size, size, panel)
        width = b.shape[2]
        right = Operand(b, (groups if transpose_a else 1) * width * size, size, panel)
        initial = np.zeros(max(n, panel // size), out.dtype) if bias is None else bias
        if transpose_a:
            left = left.transposed
        if transpose_b:
            right = right.transposed
        method = TRANSPOSED_PANELS if transpose_b else TILES
        buffer_bytes = k * panel if transpose_b else 0
        buffer = zeros((self.threads * buffer_bytes,), "uint8")
        # A batch's row of all groups is contiguous, and so is the weights' gradient of one group.
        divided = transpose_a and groups >= self.threads
        args = ProductArgs(
            method=method,
            by_columns=False,
            by_terms=False,
            size=size,
            m=m,
            n=n,
            k=k,
            a=left.array,
            a_row=left.row,
            a_column=left.column,
            b=right.array,
            b_row=right.row,
            b_column=right.column,
            b_panel=right.panel,
            initial=initial,
            c=out,
            c_row=(1 if transpose_a else groups) * n * size,
            floor=floor,
            rows=self._rows_within(CACHED, n * size),
            terms=k,
            buffer=buffer,
            buffer_bytes=buffer_bytes,
        )
        product_args = pack(args, np.zeros(MAX_ARGS, np.int64))
        steps = [
            inputs * size,
            width * size if transpose_a else b.shape[1] * width * size,
            (m if transpose_a else 1) * n * size,
            0 if bias is None else n * size,
        ]
        args_buffer = np.empty((self.threads, MAX_ARGS), np.int64)
        kernel = loaded_library().address("product", out.dtype.name)
        group_args = [kernel, product_args, args_buffer, groups, *steps, divided]
        read = [a, b, initial, product_args, args_buffer, buffer]
        by_rows = [] if transpose_a else [a, out]
        return [Instruction("group_product", group_args, read, [out], by_rows)]

    def _divides_terms(self, a: Array, b: Array, out: Array) -> bool:
        # Then no thread reads other threads' rows of the batch, but the results have to be summed.
        if self.is_by_columns(a) or self.is_by_columns(b):
            return False
        if not 1 < self.threads <= a.shape[0]:
            return False
        limit = min(SMALL_RESULT, (a.size + b.size) // (2 * self.threads))
        return bool(out.size <= limit)

    def divide(self, array: Array, by_columns: bool) -> None:
        (self.by_columns.add if by_columns else self.by_columns.discard)(address(array))

    def is_by_columns(self, array: Array) -> bool:
        return address(array) in self.by_columns

    def _divides_columns(self, rows: int, columns: int, terms: int, size: int) -> bool:
        # If threads divide the rows instead, each thread keeps its rows in its cache from layer to
        # layer, but has to read all of B.
        if rows > columns or columns < self.threads * BLOCK_BYTES // size:
            return False
        return rows < self.threads * MIN_ROWS or terms * columns * size > SHARED

    def _method(
        self, m: int, n: int, k: int, size: int, transpose_a: bool, transpose_b: bool
    ) -> int:
        panel = self.vectors.panel // size
        if n <= FEW_COLUMNS and not transpose_a and not transpose_b:
            return DOTS
        if transpose_a:
            if self.threads == 1 and m * n <= SMALL_RESULT and self._is_narrow(m, n, k, size):
                return TRANSPOSED_PRODUCT
            few = k <= panel // 2 or (k <= FEW_TERMS and n < NARROW)
            return TILES if few or m * n <= SMALL_RESULT else PACKED
        if transpose_b and k > 1:
            if k <= panel and m * n >= LARGE_RESULT:
                return PACKED
            if k > NARROW and m <= SKINNY and n >= self.threads * max(m, panel):
                return TRANSPOSED_PRODUCT
            return TRANSPOSED_PANELS
        if m <= SKINNY or n < 256 or (n <= NARROW and m < 256):
            return TILES
        return PACKED

    def _is_narrow(self, m: int, n: int, k: int, size: int) -> bool:
        """Return whether computing C.T and transposing the result is faster than computing C."""
        lanes = self.vectors.size // size
        high, wide = -(-m // lanes), -(-n // lanes)
        saved = k * (m * wide - max(LATENCY, n * high))  # vectors
        return n > 1 and saved > TRANSPOSE * high * wide

    def _operand(self, array: Array, transposed: bool) -> Operand:
        size = array.itemsize
        row = array.shape[1] * size
        strides = (size, row) if transposed else (row, size)
        return Operand(array, *strides, self.vectors.panel)

    def _rows_within(self, size: int, row_bytes: int) -> int:
        """Return how many rows of A fit in `size` bytes, as a multiple of a tile's height."""
        height = self.vectors.tile_rows
        return max(height, min(MAX_TILES * height, size // (row_bytes * height) * height))

    def _packed(self, array: Array, operand: Operand, columns: int, rows: int) -> Instruction:
        size = array.itemsize
        if self._panels is None:
            self._panels = zeros((self.panel_capacity,), "uint8")
        args = [size, rows, columns, operand.array, operand.row, operand.column, self._panels]
        panel = self.vectors.panel
        needed = rows * -(-columns * size // panel) * panel
        assert needed <= self.panel_capacity, "more than `largest_panels` returned"
        panels = self._panels[:needed]
        return Instruction("pack", args, [array], [panels])

    def _with_update(
        self, product: Instruction, args: ProductArgs, update: Instruction
    ) -> Instruction:
        """Combine the product that computes a gradient with the update that reads the gradient."""
        update_args = pack(update.args, np.zeros(MAX_ARGS, np.int64))
        args_buffer = np.empty((self.threads, MAX_ARGS), np.int64)
        result = product.writes[0]
        rows_buffer = zeros((self.threads, args.rows * args.n), result.dtype.name)
        last = args._replace(
            update=loaded_library().address(update.kernel, update.dtype),
            update_args=update_args,
            args_buffer=args_buffer,
        )
        non_final = last._replace(c=rows_buffer, c_thread=rows_buffer[0].nbytes)
        return Instruction(
            "product",
            last,
            [*product.reads, *update.reads[1:], update_args, args_buffer, rows_buffer],
            [*product.writes, *update.writes],
            non_final=non_final,
        )
