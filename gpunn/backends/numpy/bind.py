"""Operations as calls of NumPy, prepared once, so that a step only calls them.

An operation's definition (`gpunn.backends.operations`) is what NumPy computes, but for those here:
they have a shorter way in NumPy, or are done for a part of their arrays at a time, so that
intermediate results stay in the processor's cache. Each method has the parameters of its operation
and returns what is to be called, in order. None means that the definition does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import array_api_compat.numpy as xp
import numpy as np

from gpunn import optimizers
from gpunn.backends.hashing import GOLDEN, MASK_32, MIX_1, MIX_2, pass_key
from gpunn.backends.numpy.memory import contiguous
from gpunn.backends.operations import is_zero, scaled
from gpunn.typing import Array

if TYPE_CHECKING:
    from gpunn.activations import Activation
    from gpunn.backends.operations import Trained, UpdateCounters
    from gpunn.optimizers import Optimizer

__all__ = ["Binder", "Calls"]

Calls: TypeAlias = list[Callable[[], Any]]
"""What does an operation, in order."""

CHUNK = 16384
"""Elements that are done at a time: a few float32 arrays of this length fit a core's L2 cache."""

ELEMENTWISE: frozenset[type[Optimizer]] = frozenset(
    (optimizers.SGD, optimizers.RMSprop, optimizers.Adam, optimizers.AdamW, optimizers.Lion)
)
"""Optimizers that update each parameter by itself, so that any part can be updated at a time."""

MULTIPLES = np.arange(CHUNK, dtype=np.uint32) * np.uint32(GOLDEN)
"""j * GOLDEN, modulo 2^32, for each position j in a chunk."""


class Binder:
    """Binds operations to their arrays."""

    def assign(self, values: Array, out: Array) -> Calls:
        return [partial(np.copyto, out, values, casting="unsafe")]

    def accumulate(self, values: Array, out: Array) -> Calls:
        return [partial(np.add, out, values, out)]

    def take(self, table: Array, index: Array, out: Array) -> Calls:
        return [partial(table.take, index, axis=0, out=out, mode="clip")]

    def gather_rows(self, source: Array, order: Array, start: Array, out: Array) -> Calls | None:
        if not contiguous(source, out):
            return None
        rows = out.shape[0]

        def gather() -> None:
            first = int(start[0])
            # Any mode but "raise" lets NumPy write into `out` without a buffer in between; the
            # order is the trainer's own, so no number in it is out of range.
            source.take(order[first : first + rows], axis=0, out=out, mode="clip")

        return [gather]

    def count_pass(self, start: Array, rows: int, passes: Array) -> Calls:
        many, one = np.array([rows], start.dtype), np.array([1], passes.dtype)
        return [partial(np.add, start, many, start), partial(np.add, passes, one, passes)]

    def count_update(self, counters: UpdateCounters) -> Calls:
        rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps = counters
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

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Calls:
        left, right = a.T if transpose_a else a, b.T if transpose_b else b
        return [partial(np.matmul, left, right, out=out)]

    def activate(self, activation: Activation, z: Array, bias: Array | None, out: Array) -> Calls:
        def run() -> None:
            for rows in row_blocks(z):
                block = z[rows]
                if bias is not None:
                    block += bias
                out[rows] = activation.value(xp, block)

        return [run]

    def activation_gradient(
        self,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        bias_gradient: Array | None,
    ) -> Calls:
        def run() -> None:
            for rows in row_blocks(z):
                gradient[rows] *= activation.derivative(xp, z[rows], output[rows])
            if bias_gradient is not None:
                np.add.reduce(gradient, axis=0, out=bias_gradient)

        return [run]

    def dropout(
        self, x: Array, rate: float | Array, key: int, passes: Array, out: Array, first: int = 0
    ) -> Calls | None:
        if not contiguous(x, out):
            return None
        inputs, outputs = x.reshape(-1), out.reshape(-1)

        def run() -> None:
            now = rate if isinstance(rate, float) else rate[0]
            threshold, scale = round(float(now) * 2**32), x.dtype.type(1 / (1 - now))
            of_pass = np.uint32(pass_key(int(passes[0]), key))
            for part in parts(0, inputs.size):
                # (start + j) * GOLDEN, modulo 2^32, and so on: half the memory of 64-bit integers
                multiples = MULTIPLES[: part.stop - part.start]
                bits = multiples + np.uint32((first + part.start) * GOLDEN & MASK_32)
                mix_in_place(bits, of_pass)
                # As a product, so that NaN and infinity show as they do elsewhere.
                outputs[part] = inputs[part] * ((bits >= threshold) * scale)

        return [run]

    def embed_gradient(
        self, codes: Array, sizes: Sequence[int], gradient: Array, table_gradient: Array
    ) -> Calls | None:
        if not contiguous(gradient, table_gradient):
            return None
        rows, columns = codes.shape
        uses = gradient.reshape(rows * columns, table_gradient.shape[1])
        limits, starts = np.array(sizes), np.cumsum([0, *sizes[:-1]])

        def add_up() -> None:
            known = np.where((codes >= 0) & (codes < limits), codes, 0)
            table_gradient[...] = 0
            np.add.at(table_gradient, (known.astype(np.int64) + starts).reshape(-1), uses)

        return [add_up]

    def update(
        self, optimizer: Optimizer, trained: Trained, learning_rate: Array, step: Array
    ) -> Calls | None:
        if type(optimizer) not in ELEMENTWISE:
            return None
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
    """Yield slices of at most CHUNK of the elements from `begin` to `end`, in order."""
    for start in range(begin, end, CHUNK):
        yield slice(start, min(start + CHUNK, end))


def row_blocks(z: Array) -> Iterator[slice]:
    """Yield slices of rows with about CHUNK elements together, for all rows of an array."""
    rows = z.shape[0]
    many = max(1, CHUNK * rows // max(1, z.size))
    for start in range(0, rows, many):
        yield slice(start, start + many)


def mix_in_place(bits: Array, key: Any) -> None:
    """Set bits = mix(bits ^ key), for uint32."""
    bits ^= key
    bits ^= bits >> 16
    bits *= np.uint32(MIX_1)
    bits ^= bits >> 15
    bits *= np.uint32(MIX_2)
    bits ^= bits >> 16
