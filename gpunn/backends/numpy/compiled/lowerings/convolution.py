"""Instructions for convolution of images: a table lists the kernel's steps for an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from gpunn.backends.numpy.compiled.interface import (
    BLOCK_BYTES,
    CLEAR,
    COPY_ROWS,
    FOLD,
    IMAGE_STEP,
    PRODUCT,
    Vectors,
)
from gpunn.backends.numpy.compiled.lowerings.base import Steps, present, same_kind
from gpunn.backends.numpy.compiled.lowerings.dense import Dense
from gpunn.backends.numpy.compiled.lowerings.depthwise import Depthwise
from gpunn.backends.numpy.compiled.lowerings.pixels import inside, read_by, readers_of
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.backends.numpy.memory import zeros
from gpunn.backends.recording import Arguments
from gpunn.backends.windows import Window, groups_of, is_depthwise
from gpunn.typing import Array, HostArray

TERMS = 128
"""A product for the weights' gradient adds this number of pixels of one row, or twice this number
of several rows. The gradients of these pixels stay in the L1 cache."""

WEIGHTS_PER_PIXEL = 512
"""With more weights per pixel, and images of fewer than TERMS pixels, a product adds the pixels of
several images. The sums are then read and written less often."""

ROWS = 8
"""Number of rows of an image whose gradients are computed together, while a panel of weights stays
in the cache."""


SPAN, BUFFER_BYTES = 64, 1 << 17
"""A buffer holds the products of at least SPAN pixels of a row, and of more pixels if BUFFER_BYTES
bytes are enough."""

X, WEIGHTS, Y, BUFFER, INITIAL, ZERO = range(8, 26, 3)
"""Indices of the addresses of arrays in the kernel's arguments."""

Location: TypeAlias = tuple[Any, Any]
"""One of these indices, and an offset in bytes."""

NOTHING = 0, 0


class Convolution(Depthwise, Dense):
    def convolve(self, op: Arguments) -> Steps:
        return self.forward(op, partial(self._convolved, op.window))

    def convolution(self, op: Arguments) -> Steps:
        x, weights, bias, out = op.x, op.weights, op.bias, op.out
        if not same_kind(x, weights, out, *present(bias)) or not out.size:
            return None
        return self._convolved(op.window, x, weights, out, bias)

    def _convolved(
        self,
        window: Window,
        x: Array,
        weights: Array,
        out: Array,
        bias: Array | None = None,
        floor: float = -math.inf,
    ) -> list[Instruction]:
        if is_depthwise(x.shape[3], weights, window):
            return self.depthwise(window, x, weights, out, bias, floor)
        of = Geometry(window, x, weights, out, self.products.vectors)
        patch, units = weights.shape
        packing, panels = self._panels(weights, [0], (patch, of.units), False, of.groups, of.units)
        copies, buffer, source, line = self._padded(of)
        # A product adds all rows of the kernel. With dilation, it adds one row.
        taps, step, gap = of.taps, 1, of.right_gap * of.pixel
        if taps == 1:
            step, gap = of.kernel_h, of.down_gap * line
        group, column, start, row = np.ogrid[
            : of.groups, 0 : of.units * of.size : of.panel, 0 : of.kernel_h : step, : of.rows
        ]
        _, count, first = inside(read_by(window, 0, of.rows), of.height).T
        ky, end = np.maximum(first, start), np.minimum(first + count, start + step)
        nowhere = (count == 0) & (start == 0)  # All of the patch is padding.
        at = group * of.units * of.size + column
        place = (row * of.down - of.top + ky * of.down_gap) * line + group * of.channels * of.size
        panel = group * panels.nbytes // of.groups + column * patch
        products = of.products(
            nowhere | (ky < end),
            c=(Y, row * of.columns * of.y_pixel + at),
            a=(np.where(nowhere, ZERO, source), place * ~nowhere),
            b=(WEIGHTS, panel + ky * (patch // of.kernel_h) * of.panel),
            shape=(of.columns, of.numbers(of.units, column)),
            row_strides=(of.y_pixel, of.right * of.pixel * ~nowhere, of.panel),
            a_column=of.size * ~nowhere,
            gaps=((gap - of.terms * of.size) * ~nowhere, 0),
            runs=np.maximum(end - ky, nowhere) * taps,
            terms=of.terms,
            initial=(INITIAL * (ky <= first), at),
            has_floor=nowhere | (end == first + count),
        )
        zero = np.zeros(units, x.dtype)
        memories = [of.x, panels, of.y, buffer, zero if bias is None else bias, zero]
        return [*packing, self._run([copies, products], memories, of, of.y, floor=floor)]

    def convolution_weights(self, op: Arguments) -> Steps:
        window, out = op.window, op.out
        if not same_kind(op.x, op.gradient, out) or not op.gradient.size:
            return None
        self.products.gradients.append(out)
        if is_depthwise(op.x.shape[3], out, window):
            return self.depthwise_weights(window, op.x, op.gradient, out)
        of = Geometry(window, op.x, out, op.gradient, self.products.vectors)
        span = min(of.columns, TERMS)
        block, images = min(of.rows, max(1, 2 * TERMS // of.columns)), 1
        if of.rows * of.columns < TERMS and out.size > WEIGHTS_PER_PIXEL * of.rows * of.columns:
            block, images = 1, min(TERMS // span, len(of.x))
        is_copied = of.y_pixel > of.panel
        more = max(block, images) * span * of.panel * is_copied
        copies, buffer, source, line = self._padded(of, images, more)
        row, pixel, group, column, ky, tap = np.ogrid[
            0 : of.rows : block,
            0 : of.columns : span,
            : of.groups,
            0 : of.units * of.size : of.panel,
            : of.kernel_h,
            : of.taps,
        ]
        rows, terms = np.minimum(block, of.rows - row), np.minimum(span, of.columns - pixel)
        at, numbers = group * of.units * of.size + column, of.numbers(of.units, column)
        b, b_row = (row * of.columns + pixel) * of.y_pixel + at, of.y_pixel
        jump, x_jump, right = of.columns * b_row, of.down * line, of.right * of.pixel
        if images > 1:
            jump, x_jump = of.rows * jump, of.height * line
        panel = images * of.height * line * (source == BUFFER)
        copied = row_copies(
            is_copied,
            target=(BUFFER, panel),
            source=(Y, b),
            shape=(rows * terms, numbers),
            row_strides=(of.panel, b_row),
            jump=terms * of.panel,
        )
        if is_copied:
            b, b_row, jump = panel, of.panel, terms * of.panel
        # The rows of y that read a row of the image as row ky of their windows
        _, count, first = inside(read_by(window, 0, of.rows).T, of.height).T[..., None]
        begin, end = np.maximum(first, row), np.minimum(first + count, row + rows)
        place = (begin * of.down + ky * of.down_gap - of.top) * line + pixel * right
        products = of.products(
            begin < end,
            c=(WEIGHTS, (ky * of.taps + tap) * of.terms * of.y_pixel + at),
            a=(source, place + tap * of.right_gap * of.pixel + group * of.channels * of.size),
            b=(BUFFER if is_copied else Y, b + (begin - row) * jump),
            shape=(of.terms, numbers),
            row_strides=(of.y_pixel, of.size, b_row),
            a_column=right,
            gaps=(x_jump - terms * right, jump - terms * b_row),
            runs=end - begin,
            terms=terms,
        )
        parts = joined(copied.size // IMAGE_STEP, copied, products)
        sums = out if self.threads == 1 else np.empty((self.threads, out.size), out.dtype)
        memories = [of.x, sums, of.y, buffer]
        step = self._run([copies, parts], memories, of, sums, together=images, cleared=out.size)
        return [step] if sums is out else [step, sum_rows(sums, out)]

    def convolution_inputs(self, op: Arguments) -> Steps:
        weights, window = op.weights, op.window
        if not same_kind(op.gradient, weights, op.out) or not op.out.size:
            return None
        if is_depthwise(op.out.shape[3], weights, window):
            return self.depthwise(window, op.gradient, weights, op.out, is_gradient=True)
        of = Geometry(window, op.out, weights, op.gradient, self.products.vectors)
        # Each row of the kernel has a product for each pixel, which adds to x, or one product for
        # all pixels, which writes to a buffer. The step FOLD then adds the buffer's pixels.
        taps, patch, reach, block = of.kernel_w, of.channels, 1, min(ROWS, of.height)
        span, c_row, bytes_of_row = of.width, of.right * of.pixel, 0
        if of.taps == 1 < of.kernel_w and folds(of.pixel):
            taps, patch, reach, c_row = 1, of.terms, of.kernel_w, of.terms * of.size
            span = min(span, max(SPAN, BUFFER_BYTES // c_row))
            bytes_of_row = ((span + reach - 2) // of.right + 1) * c_row
            block = max(1, min(block, BUFFER_BYTES // bytes_of_row))
        adds, line = bytes_of_row == 0, of.width * of.pixel
        matrices, units = of.kernel_h * taps, of.groups * of.units
        firsts, shape = range(0, units, of.units), (of.units, patch)
        packing, panels = self._panels(weights, firsts, shape, True, matrices, patch * units)
        start, pixel, group, tap, column, i = np.ogrid[
            0 : of.height : block,
            0 : of.width : span,
            : of.groups,
            :taps,
            0 : patch * of.size : of.panel,
            :block,
        ]
        pixels, first = np.minimum(span, of.width - pixel), tap * of.right_gap - of.left - pixel
        # The columns of y whose windows contain some of these pixels
        begin = np.maximum(0, -((first + reach - 1) // of.right))
        end = np.maximum(begin, np.minimum(of.columns, -((first - pixels) // of.right)))
        row = np.minimum(start + i, of.height - 1)
        is_row = start + i < of.height
        bottom, runs, ky = inside(readers_of(window, 0, of.height), of.rows).T[:, row]
        common, tap_bytes = math.gcd(of.down, of.down_gap), panels.nbytes // of.groups // matrices
        place = row * line + (begin * of.right + first) * of.pixel + group * patch * of.size
        gap = -(of.down_gap // common) * of.columns * of.y_pixel - of.units * of.size
        products = of.products(
            is_row & (runs > 0) & (begin < end),
            c=(X, place + column) if adds else (BUFFER, i * bytes_of_row + column),
            a=(Y, (bottom * of.columns + begin) * of.y_pixel + group * of.units * of.size),
            b=(WEIGHTS, (group * matrices + ky * taps + tap) * tap_bytes + column * of.units),
            shape=(end - begin, of.numbers(patch, column)),
            row_strides=(c_row, of.y_pixel, of.panel),
            a_column=of.size,
            gaps=(gap, of.down // common * taps * tap_bytes - of.units * of.panel),
            runs=runs,
            terms=of.units,
            initial=(0 if adds else INITIAL, 0),
        )
        if adds:
            numbers = np.minimum(block, of.height - start) * (line // of.size)
            parts = [steps(CLEAR, (X, start * line), NOTHING, NOTHING, [numbers]), products]
        else:
            x, buffered = (X, row * line + pixel * of.pixel), (BUFFER, i * bytes_of_row)
            columns = begin, np.where(runs > 0, end, begin)
            arguments = of.channels, reach, of.right, *columns, pixel + of.left, pixels
            parts = [products, steps(FOLD * is_row, x, buffered, NOTHING, arguments)]
        buffer = zeros((self.threads, block * bytes_of_row), "uint8")
        memories = [of.x, panels, of.y, buffer, np.zeros(of.panel // of.size, of.x.dtype)]
        return [*packing, self._run([joined(start.size * pixel.size, *parts)], memories, of, of.x)]

    def _run(
        self,
        tables: Sequence[HostArray],
        memories: Sequence[Array],
        of: Geometry,
        written: Array,
        floor: float = -math.inf,
        together: int = 1,
        cleared: int = 0,
    ) -> Instruction:
        table = np.concatenate([each.reshape(-1, IMAGE_STEP) for each in tables])
        table = table[table[:, 0] > 0]
        args: list[Any] = [len(of.x), together, self.pieces_of(of.x, of.y), of.size, floor]
        args += [table, len(table), cleared]
        for each in memories:
            is_images = each is of.x or each is of.y
            own = not is_images and (each is written or each is memories[3])
            args += [each, each.nbytes // len(of.x) * is_images, each.nbytes // self.threads * own]
        read = [each for each in memories if each is not written]
        return self.instruction("convolution", args, read, [written], [of.x, of.y])

    def _panels(
        self,
        weights: Array,
        firsts: Sequence[int],
        shape: tuple[int, int],
        transposed: bool,
        matrices: int,
        step: int,
    ) -> tuple[list[Instruction], Array]:
        # `firsts` are indices of weights. For each of them, a row of the result has the panels of
        # some matrices, whose first weights are `step` apart.
        panel, size, (rows, columns) = self.products.vectors.panel, weights.itemsize, shape
        needed = matrices * rows * -(-columns * size // panel) * panel
        panels, strides = zeros((len(firsts), needed), "uint8"), [weights.shape[1] * size, size]
        instructions = []
        for first, target in zip(firsts, panels, strict=True):
            start = weights.reshape(-1)[first:]
            args = [size, *shape, start, *strides[:: -1 if transposed else 1], target]
            args += [matrices, step * size]
            instructions.append(Instruction("pack", args, [weights], [target], early=True))
        return instructions, panels

    def _padded(
        self, of: Geometry, images: int = 1, more: int = 0
    ) -> tuple[HostArray, Array, int, int]:
        # Returns a step that copies images into padded images, each thread's buffer for these
        # images (and `more` bytes), the location of the images, and the bytes of their rows. The
        # padding stays zero.
        width = of.width * of.pixel
        line = max(of.left + of.width, of.window.span(of.y.shape)[1]) * of.pixel
        padded = line > width
        buffer_bytes = -(-(images * of.height * line * padded + more) // 64) * 64
        copied = row_copies(
            padded,
            target=(BUFFER, of.left * of.pixel),
            source=(X, 0),
            shape=(of.height, width // of.size),
            row_strides=(line, width),
            jump=of.height * line,
        )
        buffer = zeros((self.threads, buffer_bytes), "uint8")
        return copied, buffer, BUFFER if padded else X, line


class Geometry:
    """The sizes of a convolution; distances between pixels are in bytes."""

    def __init__(
        self, window: Window, x: Array, weights: Array, y: Array, vectors: Vectors
    ) -> None:
        self.window, self.groups = window, groups_of(x.shape[3], weights, window)
        self.x, self.y = x, y = flattened(window, x, y)
        _, self.height, self.width, channels = x.shape
        _, self.rows, self.columns, units = y.shape
        self.channels, self.units = channels // self.groups, units // self.groups
        self.size, self.panel, self._tile_rows = x.itemsize, vectors.panel, vectors.tile_rows
        self.pixel, self.y_pixel = channels * self.size, units * self.size
        (self.kernel_h, self.kernel_w), (self.down, self.right) = window.kernel, window.strides
        (self.top, self.left), (self.down_gap, self.right_gap) = window.padding, window.dilation
        self.taps, self.terms = self.kernel_w, self.channels
        if self.groups == self.right_gap == 1:  # A row of the kernel is a run.
            self.taps, self.terms = 1, self.kernel_w * channels

    def products(
        self, exist: HostArray, *, c: Location, a: Location, b: Location, shape: tuple[Any, Any],
        row_strides: tuple[Any, Any, Any], a_column: Any, gaps: tuple[Any, Any], runs: Any,
        terms: Any, initial: Location = NOTHING, has_floor: Any = 0,
    ) -> HostArray:  # fmt: skip
        """Return steps, each of which computes a matrix C.

        C is the sum of `runs` matrix products A B. C has the shape `shape`, and A has `terms`
        columns. `row_strides` contains the row strides of C, A and B. After each product, the
        kernel skips gaps[0] bytes of A and gaps[1] bytes of B.
        """
        (rows, columns), (c_row, a_row, b_row), (a_gap, b_gap) = shape, row_strides, gaps
        tiles = np.maximum(1, -(-rows // self._tile_rows))
        numbers = rows, -(-rows // tiles), columns, c_row, a_row, a_column, a_gap, b_row, b_gap
        return steps(PRODUCT * exist, c, a, b, [*numbers, terms, runs, *initial, has_floor])

    def numbers(self, columns: int, first: HostArray) -> HostArray:
        """Return how many of a row's `columns` are in the panel that begins at byte `first`."""
        return np.minimum(self.panel, columns * self.size - first) // self.size


def row_copies(
    exist: Any, *, target: Location, source: Location, shape: tuple[Any, Any],
    row_strides: tuple[Any, Any], jump: Any,
) -> HostArray:  # fmt: skip
    """Return steps that copy one matrix, which has `shape`, from each image to `target`.

    Each copy begins `jump` bytes after the beginning of the previous image's copy.
    """
    to_row, from_row = row_strides
    return steps(COPY_ROWS * exist, target, source, NOTHING, [*shape, from_row, to_row, jump])


def steps(kind: Any, c: Location, a: Location, b: Location, numbers: Sequence[Any]) -> HostArray:
    # The kernel names the numbers of each kind of step where it reads them.
    given = [kind, *c, *a, *b, *numbers]
    result = np.zeros((*np.broadcast_shapes(*map(np.shape, given)), IMAGE_STEP), np.int64)
    for index, each in enumerate(given):
        result[..., index] = each
    return result


def joined(count: int, *parts: HostArray) -> HostArray:
    return np.concatenate([each.reshape(count, -1, IMAGE_STEP) for each in parts], 1)


def flattened(window: Window, *images: Array) -> Sequence[Array]:
    """Reshape images (n, h, w, c) to (n, 1, h * w, c) if the window is one pixel with stride 1."""
    sizes = {each.shape[1:3] for each in images}
    if window != Window((1, 1), dilation=window.dilation) or len(sizes) > 1:
        return images
    return [each.reshape(len(each), 1, -1, each.shape[3]) for each in images]


def folds(pixel_bytes: int) -> bool:
    """Return whether many lanes are unused if each row of a product has `pixel_bytes` bytes."""
    return pixel_bytes % BLOCK_BYTES > 0 and pixel_bytes < 4 * BLOCK_BYTES
