"""Batch and layer normalisation."""

from __future__ import annotations

import numpy as np

from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.compiled.sums import sum_rows
from gpunn.typing import Array

__all__ = ["Normalization"]


class Normalization(Forms):
    """Batch and layer normalisation."""

    def normalize(
        self,
        x: Array,
        mean: Array,
        variance: Array,
        epsilon: float,
        scale: Array | None,
        shift: Array | None,
        out: Array,
    ) -> Steps:
        if scale is None or shift is None:
            scale, shift = np.ones_like(mean), np.zeros_like(mean)
        read = [x, mean, variance, scale, shift]
        if not same_kind(*read, out):
            return None
        factors = np.empty((self.threads, mean.size), mean.dtype)
        args = [*read, factors, out, *x.shape, float(epsilon)]
        return [Instruction("normalize", args, read, [factors, out], [x, out])]

    def batch_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        running_mean: Array,
        running_variance: Array,
        momentum: float,
        epsilon: float,
        normalized: Array,
        inverse_std: Array,
        out: Array,
    ) -> Steps:
        averages, results = [running_mean, running_variance], [normalized, out]
        if not same_kind(x, scale, shift, inverse_std, *averages, *results) or not x.size:
            return None
        total, squares, mean = (np.empty_like(scale) for _ in range(3))
        sums, of_columns = [total, squares, *averages], [*averages, mean, inverse_std]
        args = [total, squares, *of_columns, *x.shape, float(momentum), float(epsilon)]
        statistics = Instruction("batch_norm_statistics", args, sums, of_columns)
        multiple = self.multiple(x)
        self.products.divide(out, self.products.is_by_columns(x))
        read, by_rows = [x, mean, inverse_std, scale, shift], [] if multiple else [x, *results]
        args = [*read, *results, *x.shape, multiple]
        return [
            *self.column_sums(x, None, total, multiple),
            *self.column_sums(x, total, squares, multiple),
            statistics,
            Instruction("batch_norm", args, read, results, by_rows),
        ]

    def batch_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> Steps:
        read, sums = [gradient, normalized, inverse_std, scale], [scale_gradient, shift_gradient]
        if not same_kind(*read, *sums) or not gradient.size:
            return None
        multiple = self.multiple(gradient)
        batch, shape = [gradient, normalized], [*gradient.shape, multiple]
        parts = sums if multiple else [self.parts(each) for each in sums]
        by_rows = [] if multiple else batch
        args, last = [*batch, *parts, *shape], [*read, *sums, *shape]
        return [
            Instruction("batch_norm_gradient_sums", args, batch, parts, by_rows),
            *([] if multiple else map(sum_rows, parts, sums)),
            Instruction("batch_norm_gradient", last, [*read, *sums], [gradient], by_rows),
        ]

    def multiple(self, x: Array) -> int:
        """Return 0 if the threads divide the rows of a matrix, else what columns are divided by."""
        by_rows = 1 < self.threads <= x.shape[0] and not self.products.is_by_columns(x)
        return 0 if by_rows else BLOCK_BYTES // int(x.itemsize)

    def column_sums(
        self, x: Array, total: Array | None, out: Array, multiple: int
    ) -> list[Instruction]:
        """Return what sums x over the rows, or the squares of x - total / rows."""
        read = [x] if total is None else [x, total]
        sums = out if multiple else self.parts(out)
        args = [x, total, sums, *x.shape, multiple]
        own = Instruction("column_sums", args, read, [sums], [] if multiple else [x])
        return [own] if multiple else [own, sum_rows(sums, out)]

    def parts(self, sums: Array) -> Array:
        """Return memory for what each thread adds up to some sums."""
        return np.empty((self.threads, sums.size), sums.dtype)

    def layer_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        epsilon: float,
        normalized: Array,
        inverse_std: Array,
        out: Array,
    ) -> Steps:
        read, changed = [x, scale, shift], [normalized, inverse_std, out]
        if not same_kind(*read, *changed):
            return None
        args = [*read, *changed, *x.shape, float(epsilon)]
        return [Instruction("layer_norm", args, read, changed, [x, *changed])]

    def layer_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> Steps:
        read, changed = [gradient, normalized, inverse_std, scale], [scale_gradient, shift_gradient]
        if not same_kind(*read, *changed):
            return None
        sums = np.empty((2, self.threads, scale.size), scale.dtype)
        args = [*read, sums, *gradient.shape]
        return [
            Instruction("layer_norm_gradient", args, read, [gradient, sums], read[:3]),
            *map(sum_rows, sums, changed),
        ]
