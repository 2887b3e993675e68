"""Instructions for convolution by Winograd's minimal filtering; see `kernels/winograd.py`."""

from dataclasses import replace
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.interface import INVERT, TRANSFORM, Vectors
from gpunn.backends.numpy.compiled.lowerings.base import Steps, same_kind
from gpunn.backends.numpy.compiled.lowerings.convolution import (
    BUFFER,
    INITIAL,
    WEIGHTS,
    ZERO,
    Convolution,
    Geometry,
    X,
    Y,
    joined,
    steps,
)
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.backends.numpy.memory import zeros
from gpunn.backends.recording import Arguments
from gpunn.backends.windows import Window, groups_of
from gpunn.typing import Array, HostArray

LEAST_CHANNELS, LEAST_PIXELS = 16, 8
"""With fewer channels or units, or fewer rows or columns of the result, the transforms take as long
as they save."""

MOST = 1 << 16
"""Maximum of channels * units. More transformed weights would take much memory, and single images
would take longer."""

TILES = 64
"""Number of tiles to transform at a time, or one row if this is more: they stay in the L2 cache."""

ALONG_AN_AXIS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
G = np.kron(ALONG_AN_AXIS, ALONG_AN_AXIS)
"""The product with this matrix transforms the weights, as a matrix (9, channels * units)."""

REVERSED = (np.array([[12], [4], [8], [0]]) + np.array([3, 1, 2, 0])).ravel()
SIGNS = np.kron([1, 1, -1, 1], [1, 1, -1, 1])
"""The matrices' order for kernels that are rotated by 180 degrees. If only the inner 2 x 2 pixels
of d are not 0, this is also the order of B' d B in A d A', except for SIGNS."""


class Winograd(Convolution):
    def _convolved(
        self, window: Window, x: Array, weights: Array, out: Array, *args: Any, **options: Any
    ) -> list[Instruction]:
        is_direct = not is_minimal(window, x, weights, out)
        convolved = super()._convolved if is_direct else self._filtered
        return convolved(window, x, weights, out, *args, **options)

    def convolution_inputs(self, op: Arguments) -> Steps:
        (top, left), x = op.window.padding, op.gradient
        if not is_minimal(op.window, op.out, op.weights, x):
            return super().convolution_inputs(op)
        window = Window((3, 3), padding=(2 - top, 2 - left))
        return self._filtered(window, x, op.weights, op.out, is_gradient=True)

    def _filtered(
        self, window: Window, x: Array, weights: Array, out: Array, bias: Array | None = None,
        floor: float = -np.inf, is_gradient: bool = False,
    ) -> list[Instruction]:  # fmt: skip
        of = Tiles(window, x, weights.reshape(9 * x.shape[3], -1), out, self.products.vectors)
        matrices = np.empty((16, weights.size // 9), x.dtype)
        first = self.products.encode(G.astype(x.dtype), weights.reshape(9, -1), matrices)
        each, shape = matrices.reshape(-1, weights.shape[1]), (of.channels, of.units)
        packing, panels = self._panels(each, [0], shape, is_gradient, 16, matrices.shape[1])
        order = REVERSED[of.matrix] if is_gradient else of.matrix
        products = of.products_of_matrices(
            c=(BUFFER, of.second + of.matrix * of.panel_matrix),
            b=(WEIGHTS, order * (panels.nbytes // 16) + of.at * of.channels),
            shape=(of.tiles, of.in_panel),
            row_strides=(of.panel, of.line, of.panel),
            a_column=of.size,
            terms=of.channels,
            initial=(ZERO, 0),
        )
        sizes = of.rows - of.row, of.columns, of.units, of.columns * of.units, of.in_panel
        inverses = steps(
            INVERT,
            (Y, of.row * of.columns * of.y_pixel + of.at),
            (BUFFER, of.second),
            (INITIAL, 0 if bias is None else of.at),
            [of.high, of.wide, *sizes, of.panel, of.panel_matrix],
        )
        table, zero = of.table(products, inverses), np.zeros(of.panel, "uint8")
        buffer = zeros((self.threads, of.buffer_bytes), "uint8")
        memories = [x, panels, out, buffer, zero if bias is None else bias, zero]
        run = self._run([table], memories, of, out, floor)
        return [*(replace(one, early=True) for one in first), *packing, run]

    def convolution_weights(self, op: Arguments) -> Steps:
        x, y, out = op.x, op.gradient, op.out
        if not is_minimal(op.window, x, out, y):
            return super().convolution_weights(op)
        self.products.gradients.append(out)
        of = Tiles(op.window, x, out, y, self.products.vectors)
        sizes = 1, of.rows, of.columns, of.y_pixel, of.in_panel, of.panel, of.panel_matrix
        gradients = of.transforms(Y, of.at, of.second, 1, *sizes)
        products = of.products_of_matrices(
            c=(WEIGHTS, of.matrix * of.channels * of.y_pixel + of.at),
            b=(BUFFER, of.second + REVERSED[of.matrix] * of.panel_matrix),
            shape=(of.channels, of.in_panel),
            row_strides=(of.y_pixel, of.size, of.panel),
            a_column=of.line,
            terms=of.tiles,
        )
        total, zero = np.empty((16, out.size // 9), out.dtype), np.zeros(of.panel, "uint8")
        sums = total if self.threads == 1 else np.empty((self.threads, total.size), out.dtype)
        memories = [x, sums, y, zeros((self.threads, of.buffer_bytes), "uint8"), zero, zero]
        table, cleared = of.table(gradients, products), total.size
        run = self._run([table], memories, of, sums, together=of.images, cleared=cleared)
        signed = np.ascontiguousarray(G.T * SIGNS, out.dtype)
        last = self.products.encode(signed, total, out.reshape(9, -1))
        return [run, *([] if sums is total else [sum_rows(sums, total)]), *last]


class Tiles(Geometry):
    """The tiles of a convolution's result. Arrays have axes for parts, panels and matrices.

    The buffer has 16 matrices of transformed pixels, with `line` bytes for a tile, and from byte
    `second` on 16 matrices for one panel of units.
    """

    def __init__(self, window: Window, x: Array, weights: Array, y: Array, of: Vectors) -> None:
        super().__init__(window, x, weights, y, of)
        rows, self.wide = -(-self.rows // 2), -(-self.columns // 2)
        high = max(1, min(rows, TILES // self.wide))
        self.images, self.most = max(1, TILES // (rows * self.wide)), high * self.wide
        row, self.at, self.matrix = np.ogrid[
            0:rows:high, 0 : self.units * self.size : self.panel, 0:16
        ]
        self.row, self.high = 2 * row, np.minimum(high, rows - row)
        self.tiles, self.in_panel = self.high * self.wide, self.numbers(self.units, self.at)
        # With an odd number of cache lines, matrices begin in different sets of the cache.
        count, self.line = self.images * self.most, -(-self.pixel // 64) * 64
        self.pixel_matrix, self.panel_matrix = count * self.line | 64, count * self.panel | 64
        self.second = 16 * self.pixel_matrix
        self.buffer_bytes = self.second + 16 * self.panel_matrix

    def products_of_matrices(self, **arguments: Any) -> HostArray:
        a = BUFFER, self.matrix * self.pixel_matrix
        return self.products(self.tiles > 0, a=a, gaps=(0, 0), runs=1, **arguments)

    def table(self, *of_panels: HostArray) -> HostArray:
        sizes = self.height, self.width, self.pixel, self.channels, self.line, self.pixel_matrix
        transforms = self.transforms(X, 0, 0, self.top, self.left, *sizes)
        parts = joined(self.tiles.size * self.at.size, *of_panels)
        return joined(self.tiles.size, transforms, parts)

    def transforms(
        self, source: int, at: Any, target: int, top: int, left: int, height: int, width: int,
        pixel: int, numbers: Any, row: int, distance: int,
    ) -> HostArray:  # fmt: skip
        arguments = [self.high, self.wide, self.row - top, -left, height, width, pixel]
        arguments += [width * pixel, numbers, int(source == Y), row, distance, self.most * row]
        return steps(TRANSFORM, (BUFFER, target), (source, at), (ZERO, 0), arguments)


def is_minimal(window: Window, x: Array, weights: Array, y: Array) -> bool:
    return (
        window == Window((3, 3), padding=window.padding)
        and groups_of(x.shape[3], weights, window) == 1
        and min(x.shape[3], y.shape[3]) >= LEAST_CHANNELS
        and x.shape[3] * y.shape[3] <= MOST
        and min(y.shape[1:3]) >= LEAST_PIXELS
        and same_kind(x, weights, y)
        and y.size > 0
    )
