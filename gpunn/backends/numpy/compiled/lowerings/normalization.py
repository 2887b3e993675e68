"""Batch and layer normalization."""

from __future__ import annotations

import numpy as np

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.lowerings.base import Lowerings, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.compiled.sums import sum_rows
from gpunn.backends.recording import Arguments
from gpunn.typing import Array

__all__ = ["Normalization"]


class Normalization(Lowerings):
    """Returns instructions for batch and layer normalization."""

    def normalize(self, op: Arguments) -> Steps:
        x, mean, out, scale, shift = op.x, op.mean, op.out, op.scale, op.shift
        if scale is None or shift is None:
            scale, shift = np.ones_like(mean), np.zeros_like(mean)
        read = [x, mean, op.variance, scale, shift]
        if not same_kind(*read, out):
            return None
        factors = np.empty((self.threads, mean.size), mean.dtype)
        args = [*read, factors, out, *x.shape, float(op.epsilon)]
        return [Instruction("normalize", args, read, [factors, out], [x, out])]

    def batch_norm(self, op: Arguments) -> Steps:
        x, scale, inverse_std = op.x, op.scale, op.inverse_std
        averages, results = [op.running_mean, op.running_variance], [op.normalized, op.out]
        if not same_kind(*op.arrays) or not x.size:
            return None
        total, squares, mean = (np.empty_like(scale) for _ in range(3))
        sums, of_columns = [total, squares, *averages], [*averages, mean, inverse_std]
        numbers = float(op.momentum), float(op.epsilon)
        args = [total, squares, *of_columns, *x.shape, *numbers]
        statistics = Instruction("batch_norm_statistics", args, sums, of_columns)
        multiple = self.multiple(x)
        self.products.divide(op.out, self.products.is_by_columns(x))
        read, by_rows = [x, mean, inverse_std, scale, op.shift], [] if multiple else [x, *results]
        args = [*read, *results, *x.shape, multiple]
        return [
            *self.column_sums(x, None, total, multiple),
            *self.column_sums(x, total, squares, multiple),
            statistics,
            Instruction("batch_norm", args, read, results, by_rows),
        ]

    def batch_norm_gradient(self, op: Arguments) -> Steps:
        gradient, batch = op.gradient, [op.gradient, op.normalized]
        read, sums = [*batch, op.inverse_std, op.scale], [op.scale_gradient, op.shift_gradient]
        if not same_kind(*op.arrays) or not gradient.size:
            return None
        multiple = self.multiple(gradient)
        shape = [*gradient.shape, multiple]
        parts = sums if multiple else [self.parts(each) for each in sums]
        by_rows = [] if multiple else batch
        args, last = [*batch, *parts, *shape], [*read, *sums, *shape]
        return [
            Instruction("batch_norm_gradient_sums", args, batch, parts, by_rows),
            *([] if multiple else map(sum_rows, parts, sums)),
            Instruction("batch_norm_gradient", last, [*read, *sums], [gradient], by_rows),
        ]

    def multiple(self, x: Array) -> int:
        """Return 0 if threads divide the rows of x, else a unit of each thread's columns."""
        by_rows = 1 < self.threads <= x.shape[0] and not self.products.is_by_columns(x)
        return 0 if by_rows else BLOCK_BYTES // int(x.itemsize)

    def column_sums(
        self, x: Array, total: Array | None, out: Array, multiple: int
    ) -> list[Instruction]:
        """Return instructions that sum x, or the squares of x - total / rows, over the rows."""
        read = [x] if total is None else [x, total]
        sums = out if multiple else self.parts(out)
        args = [x, total, sums, *x.shape, multiple]
        first = Instruction("column_sums", args, read, [sums], [] if multiple else [x])
        return [first] if multiple else [first, sum_rows(sums, out)]

    def parts(self, sums: Array) -> Array:
        """Return an array for the threads' partial sums."""
        return np.empty((self.threads, sums.size), sums.dtype)

    def layer_norm(self, op: Arguments) -> Steps:
        x, read = op.x, [op.x, op.scale, op.shift]
        changed = [op.normalized, op.inverse_std, op.out]
        if not same_kind(*op.arrays):
            return None
        args = [*read, *changed, *x.shape, float(op.epsilon)]
        return [Instruction("layer_norm", args, read, changed, [x, *changed])]

    def layer_norm_gradient(self, op: Arguments) -> Steps:
        gradient, scale = op.gradient, op.scale
        read = [gradient, op.normalized, op.inverse_std, scale]
        if not same_kind(*op.arrays):
            return None
        sums = np.empty((2, self.threads, scale.size), scale.dtype)
        args = [*read, sums, *gradient.shape]
        return [
            Instruction("layer_norm_gradient", args, read, [gradient, sums], read[:3]),
            *map(sum_rows, sums, [op.scale_gradient, op.shift_gradient]),
        ]
