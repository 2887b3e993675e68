"""Translate (lower) operations to NumPy calls, which are prepared once and run in each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from gpunn.backends.hashing import GOLDEN, MASK_32, MIX_1, MIX_2, pass_key
from gpunn.backends.numpy.memory import contiguous
from gpunn.backends.numpy.namespace import xp
from gpunn.backends.operations import is_zero, scaled
from gpunn.backends.recording import Arguments
from gpunn.configurable import is_built_in
from gpunn.typing import Array

Calls: TypeAlias = list[Callable[[], Any]]

CHUNK = 16384
"""Elements per chunk: a few float32 arrays of this length fit into a core's L2 cache."""

MULTIPLES = np.arange(CHUNK, dtype=np.uint32) * np.uint32(GOLDEN)
"""j * GOLDEN, modulo 2^32, for the positions j in a chunk."""


class NumpyLowerings:
    def assign(self, op: Arguments) -> Calls:
        return [partial(np.copyto, op.out, op.values, casting="unsafe")]

    def gather_rows(self, op: Arguments) -> Calls | None:
        source, order, start, out = op.source, op.order, op.start, op.out
        if not contiguous(source, out):
            return None
        rows = out.shape[0]

        def gather() -> None:
            first = int(start[0])
            # Without mode "raise", NumPy writes directly into `out`. The trainer creates the order,
            # so no index is out of range.
            source.take(order[first : first + rows], axis=0, out=out, mode="clip")

        return [gather]

    def count_update(self, op: Arguments) -> Calls:
        rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps = op.counters
        one, count = np.array([1], position.dtype), np.array([1], finite_steps.dtype)

        def count_finite() -> None:
            if math.isfinite(loss_sum[0]):
                np.add(finite_steps, count, finite_steps)

        return [
            partial(rates.take, position, out=rate, mode="clip"),
            partial(np.add, position, one, position),
            partial(np.add, updates, one, updates),
            partial(np.add, weight_sum, weight, weight_sum),
            count_finite,
        ]

    def matmul(self, op: Arguments) -> Calls:
        left = op.a.T if op.transpose_a else op.a
        right = op.b.T if op.transpose_b else op.b
        return [partial(np.matmul, left, right, out=op.out)]

    def activate(self, op: Arguments) -> Calls:
        value, z, bias, out = op.activation.value, op.z, op.bias, op.out

        def run() -> None:
            for rows in row_blocks(z):
                block = z[rows]
                if bias is not None:
                    block += bias
                out[rows] = value(xp, block)

        return [run]

    def activation_gradient(self, op: Arguments) -> Calls:
        derivative, z, output = op.activation.derivative, op.z, op.output
        gradient, bias_gradient = op.gradient, op.bias_gradient

        def run() -> None:
            for rows in row_blocks(z):
                gradient[rows] *= derivative(xp, z[rows], output[rows])
            if bias_gradient is not None:
                axes = tuple(range(gradient.ndim - bias_gradient.ndim))
                np.add.reduce(gradient, axis=axes, out=bias_gradient)

        return [run]

    def dropout(self, op: Arguments) -> Calls | None:
        x, rate, key, passes, out, start = op.x, op.rate, op.key, op.passes, op.out, op.first
        if not contiguous(x, out):
            return None
        inputs, outputs = x.reshape(-1), out.reshape(-1)

        def run() -> None:
            now = rate if isinstance(rate, float) else rate[0]
            threshold, scale = round(float(now) * 2**32), x.dtype.type(1 / (1 - now))
            of_pass = np.uint32(pass_key(int(passes[0]), key))
            for part in parts(0, inputs.size):
                # (start + j) * GOLDEN modulo 2^32 needs only half the memory of 64-bit integers.
                multiples = MULTIPLES[: part.stop - part.start]
                bits = multiples + np.uint32((start + part.start) * GOLDEN & MASK_32)
                mix_in_place(bits, of_pass)
                # A product keeps NaN and infinity, as on other backends.
                outputs[part] = inputs[part] * ((bits >= threshold) * scale)

        return [run]

    def embed_gradient(self, op: Arguments) -> Calls | None:
        codes, sizes = op.codes, op.sizes
        gradient, table_gradient = op.gradient, op.table_gradient
        if not contiguous(gradient, table_gradient):
            return None
        rows, columns = codes.shape
        uses = gradient.reshape(rows * columns, table_gradient.shape[1])
        limits, starts = np.array(sizes), np.cumsum([0, *sizes[:-1]])

        def add_up() -> None:
            valid = np.where((codes >= 0) & (codes < limits), codes, 0)
            table_gradient[...] = 0
            np.add.at(table_gradient, (valid.astype(np.int64) + starts).reshape(-1), uses)

        return [add_up]

    def update(self, op: Arguments) -> Calls | None:
        optimizer, trained = op.optimizer, op.trained
        learning_rate, step = op.learning_rate, op.step
        if not is_built_in(type(optimizer)) or optimizer.by_parameter:
            return None  # a custom optimizer may use all parameters, as in a norm
        decay: Any = optimizer.weight_decay

        def run() -> None:
            for start, stop, factor, decay_factor in trained.segments:
                rate = scaled(learning_rate, factor)
                keep = None
                if decay_factor and not is_zero(decay):
                    keep = 1 - rate * (decay * decay_factor)
                for part in parts(start, stop):
                    vectors = trained.part(part.start, part.stop)
                    if keep is not None:
                        vectors.values[...] *= keep
                    optimizer.update(xp, *vectors[:3], rate, step)

        return [run]


def parts(begin: int, end: int) -> Iterator[slice]:
    for start in range(begin, end, CHUNK):
        yield slice(start, min(start + CHUNK, end))


def row_blocks(z: Array) -> Iterator[slice]:
    rows = z.shape[0]
    many = max(1, CHUNK * rows // max(1, z.size))
    for start in range(0, rows, many):
        yield slice(start, start + many)


def mix_in_place(bits: Array, key: Any) -> None:
    bits ^= key
    bits ^= bits >> 16
    bits *= np.uint32(MIX_1)
    bits ^= bits >> 15
    bits *= np.uint32(MIX_2)
    bits ^= bits >> 16
