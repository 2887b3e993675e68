"""Instructions for batch and layer normalization."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES
from gpunn.backends.numpy.compiled.lowerings.base import Steps, same_kind
from gpunn.backends.numpy.compiled.lowerings.pooling import RELU, Pooling, memory_of
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.backends.recording import Arguments
from gpunn.backends.windows import Window
from gpunn.typing import Array

FULL, MANY_ROWS = 64, 2048
"""Rows of fewer than FULL columns are joined to longer rows, if at least MANY_ROWS rows remain."""


class Normalization(Pooling):
    def normalize(self, op: Arguments) -> Steps:
        x, mean, out, scale, shift = op.x, op.mean, op.out, op.scale, op.shift
        if scale is None or shift is None:
            scale, shift = np.ones_like(mean), np.zeros_like(mean)
        vectors = [mean, op.variance, scale, shift]
        if not same_kind(x, out, *vectors) or not x.size:
            return None
        joined = joined_rows(*x.shape)
        x, out = (each.reshape(-1, joined * mean.size) for each in (x, out))
        repeating, vectors = self.repeated(joined, vectors)
        factors = np.empty((self.parts_of(x), x.shape[1]), mean.dtype)
        shape = [*x.shape, self.rows_per_image(x)]
        x, out = self.by_images(x, out)
        args = [x, *vectors, factors, out, *shape, float(op.epsilon)]
        read, written = [x, *vectors], [factors, out]
        return [*repeating, self.instruction("normalize", args, read, written, [x, out])]

    def batch_norm(self, op: Arguments) -> Steps:
        scale, mean, inverse_std = op.scale, op.mean, op.inverse_std
        averages = [op.running_mean, op.running_variance]
        if not same_kind(*op.arrays) or not op.x.size:
            return None
        self.products.divide(op.out, self.products.is_by_columns(op.x))
        joined = joined_rows(*op.x.shape)
        x, out = (each.reshape(-1, joined * scale.size) for each in (op.x, op.out))
        multiple = self.multiple(x)
        parts = 1 if multiple > 0 else self.parts_of(x)
        moments = np.empty((parts, 3, x.shape[1]), x.dtype)
        of_columns = [*averages, mean, inverse_std]
        then, vectors = self.repeated(joined, [mean, inverse_std, scale, op.shift])
        shape = [*x.shape, multiple]
        x, out = self.by_images(x, out)
        read = [x, *vectors]
        moments_of, by_rows = ([], []) if multiple > 0 else ([x, moments], [x, out])
        args: list[Any] = [x, moments, *shape]
        first = self.instruction("column_moments", args, [x], [moments], moments_of)
        args = [moments, parts, joined, *of_columns, shape[0], scale.size, multiple]
        args += [float(op.momentum), float(op.epsilon)]
        statistics = Instruction("batch_norm_statistics", args, [moments, *averages], of_columns)
        args = [*read, out, None, *shape]
        last = self.instruction("batch_norm", args, read, [out], by_rows)
        return [first, statistics, *then, replace(last, then=partial(with_relu, last))]

    def batch_norm_gradient(self, op: Arguments) -> Steps:
        sums = [op.scale_gradient, op.shift_gradient]
        if not same_kind(*op.arrays) or not op.gradient.size:
            return None
        joined = joined_rows(*op.gradient.shape)
        batch = [each.reshape(-1, joined * op.scale.size) for each in (op.gradient, op.x)]
        multiple = self.multiple(batch[0])
        shape = [*batch[0].shape, multiple]
        parts, summing = self.parts(batch[0], sums, multiple)
        batch = self.by_images(*batch)
        by_rows = [] if multiple > 0 else batch
        repeating, vectors = self.repeated(joined, [op.mean, op.inverse_std, op.scale])
        then, totals = self.repeated(joined, divided=sums)
        kernel, read = "batch_norm_gradient", [*batch, *vectors]
        divided = [*by_rows, *parts] if by_rows else []
        first = self.instruction(kernel, [*read, *parts, *shape, False], read, parts, divided)
        read = [*read, *totals]
        last = self.instruction(kernel, [*read, *shape, True], read, batch[:1], by_rows)
        return [*repeating, first, *summing, *then, last]

    def multiple(self, x: Array) -> int:
        by_rows = 1 < self.parts_of(x) <= x.shape[0] and not self.products.is_by_columns(x)
        return -self.rows_per_image(x) if by_rows else BLOCK_BYTES // int(x.itemsize)

    def parts(
        self, x: Array, sums: list[Array], multiple: int
    ) -> tuple[list[Array], list[Instruction]]:
        """Return arrays for partial sums over the rows of x, and steps that then set `sums`.

        If no partial sums are needed, the result is (sums, []).
        """
        if multiple > 0 and x.shape[1] == sums[0].size:
            return sums, []
        threads = 1 if multiple > 0 else self.parts_of(x)
        parts = [np.empty((threads * x.shape[1] // out.size, out.size), x.dtype) for out in sums]
        return parts, [*map(sum_rows, parts, sums)]

    def repeated(
        self, times: int, vectors: Sequence[Array] = (), divided: Sequence[Array] = ()
    ) -> tuple[list[Instruction], list[Array]]:
        """Return (instructions, results); each result has `times` copies of a vector.

        The vectors in `divided` are first divided by `times`.
        """
        if times == 1:
            return [], [*vectors, *divided]
        window = Window((1, times), (1, times))
        steps: list[Instruction] = []
        results = []
        for vector in (*vectors, *divided):
            pixel = vector.reshape(1, 1, 1, -1)
            out = np.empty((1, 1, times, vector.size), vector.dtype)
            results.append(out.reshape(-1))
            both = Arguments(x=pixel, gradient=pixel, window=window, out=out)
            is_divided = any(vector is each for each in divided)
            repeat = self.average_pool_gradient if is_divided else self.upsample
            steps += repeat(both) or []
        return steps, results

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


def joined_rows(rows: int, columns: int) -> int:
    """Return how many short rows a kernel treats as one row: a power of two."""
    joined = 1
    while joined * columns < FULL and rows % (2 * joined) == 0 and rows >= 2 * joined * MANY_ROWS:
        joined *= 2
    return joined


def with_relu(norm: Instruction, following: Instruction) -> Instruction | None:
    is_relu = following.kernel == "activate" and following.args[0] == RELU
    if not is_relu or following.args[2] is not None:
        return None
    [out], [activated] = norm.writes, following.writes
    if memory_of(following.reads[:1]) != memory_of([out]) or activated.size != out.size:
        return None
    activated = activated.reshape(out.shape)
    args = [*norm.args]
    args[6] = activated
    by_rows = [*norm.by_rows, activated] if norm.by_rows else []
    writes = [out, activated]
    return replace(norm, args=args, writes=writes, by_rows=by_rows, then=None, unread=(5, out))
