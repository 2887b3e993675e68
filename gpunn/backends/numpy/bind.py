"""Operations as calls of NumPy, prepared once, so that a step only calls them.

For each operation that NumPy can do faster than its definition there is a method with the same
parameters. It returns what is to be called, in order: NumPy's functions with their arrays, views
and scratch memory. None means that the definition does it: for an array that isn't contiguous, or a
loss of the user's own.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import array_api_compat.numpy as xp
import numpy as np

from gpunn.activations import Identity, ReLU
from gpunn.backends.hashing import GOLDEN, MASK_32, MIX_1, MIX_2, pass_key
from gpunn.backends.numpy.activations import CHEAP, KERNELS
from gpunn.backends.numpy.losses import computation
from gpunn.backends.numpy.metrics import MEASURE
from gpunn.backends.numpy.normalization import Calls, Normalizations
from gpunn.backends.numpy.optimizers import UPDATE, bias_corrected, decay
from gpunn.backends.numpy.partition import LARGE, Partition
from gpunn.backends.numpy.scratch import CHUNK, Scratch, chunks, contiguous
from gpunn.typing import Array, Shape

if TYPE_CHECKING:
    from gpunn.activations import Activation
    from gpunn.backends.operations import Trained, UpdateCounters
    from gpunn.losses import Loss
    from gpunn.metrics import Metric
    from gpunn.optimizers import Optimizer

__all__ = ["Binder"]

SHORT, UNDIVIDED = 128, 512
"""Rows and inputs up to which OpenBLAS does not divide the gradient of the weights well among its
threads, unless it is asked for half as many units at a time."""

NARROW = 32
"""Units up to which a transposed copy of the weights takes little beside a product with them."""

SKINNY, WIDE = 32, 1 << 16
"""Rows up to which, and weights from which, it is faster to compute a product's transpose and
transpose it than to compute the product."""

BOOL, UINT32 = np.dtype(np.bool), np.dtype(np.uint32)

MULTIPLES = np.arange(CHUNK, dtype=np.uint32) * np.uint32(GOLDEN)
"""j * GOLDEN, modulo 2^32, for each position j in a chunk."""


class Binder(Normalizations):
    """Binds operations to their arrays.

    Parameters
    ----------
    partition : Partition
        The threads that large arrays are divided among.
    scratch : Scratch
        Memory that nothing else uses while the calls run.
    """

    def __init__(self, partition: Partition, scratch: Scratch) -> None:
        self.partition, self.scratch = partition, scratch
        self._zero_arrays: dict[np.dtype, np.ndarray] = {}

    # --------------------------------------------------------------------------- bookkeeping

    def assign(self, values: Array, out: Array) -> Calls:
        return [partial(np.copyto, out, values, casting="unsafe")]

    def accumulate(self, values: Array, out: Array) -> Calls:
        return [partial(np.add, out, values, out)]

    def take(self, table: Array, index: Array, out: Array) -> Calls:
        return [partial(table.take, index, out=out, mode="clip")]

    def gather_rows(self, source: Array, order: Array, start: Array, out: Array) -> Calls:
        rows = out.shape[0]
        direct = contiguous(source, out)
        gathered = out if direct else self.scratch("gathered", out.shape, source.dtype)
        # Any mode but "raise" lets NumPy write into `out` without a buffer in between; the order
        # is the trainer's own, so no number in it is out of range.
        take = partial(source.take, axis=0, out=gathered, mode="clip")

        def gather() -> None:
            first = int(start[0])
            take(order[first : first + rows])

        return [gather] if direct else [gather, partial(np.copyto, out, gathered)]

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

    # ----------------------------------------------------------------------------- layers

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Calls:
        if transpose_a and not transpose_b:
            return self._weight_gradient(a, b, out)
        if transpose_b and not transpose_a:
            return self._input_gradient(a, b, out)
        left, right = a.T if transpose_a else a, b.T if transpose_b else b
        return [partial(np.matmul, left, right, out=out)]

    def _weight_gradient(self, x: Array, gradient: Array, out: Array) -> Calls:
        """Set out = x.T @ gradient."""
        (rows, units), inputs = gradient.shape, x.shape[1]
        width = units
        if rows <= SHORT and inputs <= UNDIVIDED and self.partition.threads > 1:
            width = UNDIVIDED // 2
        return [
            partial(np.matmul, x.T, gradient[:, part], out=out[:, part])
            for part in (slice(start, start + width) for start in range(0, units, width))
        ]

    def _input_gradient(self, gradient: Array, weights: Array, out: Array) -> Calls:
        """Set out = gradient @ weights.T, which OpenBLAS is slow at in most of its shapes."""
        rows, units = gradient.shape
        if units == 1:
            return [partial(np.multiply, gradient, weights.T, out)]
        if units <= NARROW:
            transposed = self.scratch("transposed", weights.shape[::-1], weights.dtype)
            return [
                partial(np.copyto, transposed, weights.T),
                partial(np.matmul, gradient, transposed, out=out),
            ]
        if rows <= SKINNY and weights.size >= WIDE:
            transposed = self.scratch("transposed", out.shape[::-1], out.dtype)
            return [
                partial(np.matmul, weights, gradient.T, out=transposed),
                partial(np.copyto, out, transposed.T),
            ]
        return [partial(np.matmul, gradient, weights.T, out=out)]

    def activate(
        self, activation: Activation, z: Array, bias: Array | None, out: Array
    ) -> Calls | None:
        if type(activation) not in KERNELS or not z.size or not contiguous(z, out):
            return None
        if self._divided(activation, z):
            forward, _ = KERNELS[type(activation)]

            def on(z_chunk: Array, out_chunk: Array) -> None:
                forward(
                    activation, z_chunk, z_chunk if out is z else out_chunk, *self._pair(z_chunk)
                )

            added: Calls = [] if bias is None else [partial(np.add, z, bias, z)]
            return [*added, partial(self.partition.for_each, on, z, out)]
        runs = blocks(z)
        calls, bias = self._repeated(bias, z[runs[0]].shape, len(runs))
        for run in runs:
            block = z[run]
            if bias is not None:
                term = bias if bias.ndim == 1 else bias[: block.shape[0]]
                calls.append(partial(np.add, block, term, block))
            chunk = block.reshape(-1)
            target = chunk if out is z else out[run].reshape(-1)
            calls += self._forward(activation, chunk, target)
        return calls

    def _repeated(self, bias: Array | None, shape: Shape, times: int) -> tuple[Calls, Array | None]:
        """Return what repeats the bias for each row of a block, and these rows, if that pays.

        NumPy adds arrays of equal shapes nearly twice as fast as a row to every row.
        """
        if bias is None or times < 4:
            return [], bias
        rows = self.scratch("bias", shape, bias.dtype)
        return [partial(np.copyto, rows, bias)], rows

    def _forward(self, activation: Activation, z: Array, out: Array) -> Calls:
        kind = type(activation)
        if kind is Identity and out is z:
            return []
        if kind is ReLU:
            return [partial(np.maximum, z, self._zeros(z), out=out)]
        forward, _ = KERNELS[kind]
        return [partial(forward, activation, z, out, *self._pair(z))]

    def _backward(self, activation: Activation, z: Array, output: Array, gradient: Array) -> Calls:
        kind = type(activation)
        if kind is Identity:
            return []
        if kind is ReLU:
            positive, factor = self.scratch("positive", z.shape, BOOL), self._pair(z)[0]
            return [
                partial(np.greater, output, self._zeros(z), positive),
                partial(np.copyto, factor, positive),
                partial(np.multiply, gradient, factor, gradient),
            ]
        _, backward = KERNELS[kind]
        return [partial(backward, activation, z, output, gradient, *self._pair(z))]

    def _zeros(self, chunk: Array) -> Array:
        """Return zeros, not to be written to; as an operand, twice as fast as the number 0."""
        if chunk.dtype not in self._zero_arrays:
            self._zero_arrays[chunk.dtype] = np.zeros(0, chunk.dtype)
        if self._zero_arrays[chunk.dtype].size < chunk.size:
            self._zero_arrays[chunk.dtype] = np.zeros(chunk.size, chunk.dtype)
        return self._zero_arrays[chunk.dtype][: chunk.size]

    def activation_gradient(
        self,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        bias_gradient: Array | None,
    ) -> Calls | None:
        arrays = z, output, gradient
        if type(activation) not in KERNELS or not z.size or not contiguous(*arrays):
            return None
        calls: Calls = []
        if self._divided(activation, z):
            _, backward = KERNELS[type(activation)]

            def on(z_chunk: Array, output_chunk: Array, chunk: Array) -> None:
                backward(activation, z_chunk, output_chunk, chunk, *self._pair(chunk))

            calls.append(partial(self.partition.for_each, on, *arrays))
            if bias_gradient is not None:
                calls.append(partial(np.add.reduce, gradient, axis=0, out=bias_gradient))
            return calls
        for run in blocks(z):
            flat = [array[run].reshape(-1) for array in (z, output, gradient)]
            calls += self._backward(activation, *flat)
        if bias_gradient is not None:
            ones = np.ones(gradient.shape[0], gradient.dtype)
            calls.append(partial(np.matmul, ones, gradient, out=bias_gradient))
        return calls

    def _divided(self, activation: Activation, z: Array) -> bool:
        """Return whether several threads compute this sooner than one."""
        return type(activation) not in CHEAP and z.size >= LARGE and self.partition.threads > 1

    def _pair(self, chunk: Array) -> tuple[Array, Array]:
        scratch = self.scratch
        return scratch("s", chunk.shape, chunk.dtype), scratch("t", chunk.shape, chunk.dtype)

    def dropout(self, x: Array, rate: float, key: int, passes: Array, out: Array) -> Calls | None:
        if not contiguous(x, out):
            return None
        threshold, scale = round(rate * 2**32), 1 / (1 - rate)

        def run() -> None:
            of_pass = np.uint32(pass_key(int(passes[0]), key))
            start = 0
            for x_chunk, out_chunk in chunks(x, out):
                bits = self.scratch("bits", x_chunk.shape, UINT32)
                # (start + j) * GOLDEN, modulo 2^32
                np.add(MULTIPLES[: bits.size], np.uint32(start * GOLDEN & MASK_32), out=bits)
                bits ^= of_pass
                mix_in_place(bits, self.scratch("shifted", x_chunk.shape, UINT32))
                kept = self.scratch("kept", x_chunk.shape, BOOL)
                np.greater_equal(bits, threshold, out=kept)
                factor = self.scratch("factor", x_chunk.shape, x.dtype)
                factor[...] = kept
                factor *= scale
                np.multiply(x_chunk, factor, out=out_chunk)
                start += bits.size

        return [run]

    def rescale(self, x: Array, scale: float, offset: float, out: Array) -> Calls:
        converted: Calls = [] if out is x else [partial(np.copyto, out, x, casting="unsafe")]
        added: Calls = [partial(np.add, out, offset, out)] if offset else []
        return [*converted, partial(np.multiply, out, scale, out), *added]

    # -------------------------------------------------------------- losses, metrics, updates

    def loss(
        self,
        loss: Loss,
        predictions: Array,
        targets: Array,
        weights: Array,
        normalizer: Array,
        gradient: Array | None,
        loss_sum: Array,
    ) -> Calls | None:
        compute = computation(type(loss))
        outputs = (predictions,) if gradient is None else (predictions, gradient)
        if compute is None or not contiguous(*outputs):
            return None
        rows, dtype = predictions.shape[0], predictions.dtype
        values = self.scratch("values", (rows,), dtype)
        total = self.scratch("total", (), dtype)
        row_weights = self.scratch("row_weights", (rows, 1), dtype)

        def add_up() -> None:
            np.vecdot(values, weights, out=total)
            np.add(loss_sum, total, loss_sum)
            if gradient is not None:
                weight = float(normalizer[0])
                np.multiply(weights, 1 / weight if weight > 0 else 1.0, out=row_weights[:, 0])
                np.multiply(gradient, row_weights, gradient)

        return [
            partial(compute, loss, predictions, targets, values, gradient, self.scratch),
            add_up,
        ]

    def metric(
        self, metric: Metric, predictions: Array, targets: Array, weights: Array, summary: Array
    ) -> Calls | None:
        measure = MEASURE.get(type(metric))
        if measure is None or not contiguous(predictions):
            return None

        def run() -> None:
            batch = measure(metric, predictions, targets, weights, self.scratch)
            summary[...] = metric.combine(xp, summary, batch)

        return [run]

    def clip(self, gradients: Array, max_norm: float) -> Calls:
        def run() -> None:
            norm = math.sqrt(float(np.vecdot(gradients, gradients)))
            if not norm <= max_norm:  # so that a NaN spreads, as it does elsewhere
                np.multiply(gradients, max_norm / norm, gradients)

        return [run]

    def l2_penalty(
        self, values: Array, gradients: Array, weight: Array, strength: float, loss_sum: Array
    ) -> Calls:
        def run() -> None:
            np.add(loss_sum, 0.5 * strength * np.vecdot(values, values), loss_sum)
            total = float(weight[0])
            if total > 0:
                for value_chunk, gradient_chunk in chunks(values, gradients):
                    s, _ = self._pair(value_chunk)
                    np.multiply(value_chunk, strength / total, out=s)
                    np.add(gradient_chunk, s, gradient_chunk)

        return [run]

    def update(
        self, optimizer: Optimizer, trained: Trained, learning_rate: Array, step: Array
    ) -> Calls | None:
        values, gradients, slots, decayed = trained
        bind = UPDATE.get(type(optimizer))
        if bind is None:
            return None
        state = [slots[name] for name in optimizer.slots]
        runs = list(bind(optimizer, values, gradients, state, self.scratch))

        def update() -> None:
            rate = float(learning_rate[0])
            decay(optimizer, values, decayed, rate)
            rate, epsilon = bias_corrected(optimizer, rate, int(step[0]))
            for run in runs:
                run(rate, epsilon)

        return [update]


def blocks(z: Array) -> list[slice]:
    """Return slices of rows that fit into the cache, for all rows."""
    rows = z.shape[0]
    many = max(1, CHUNK * rows // z.size)
    return [slice(start, start + many) for start in range(0, rows, many)]


def mix_in_place(bits: Array, shifted: Array) -> None:
    """Set bits = mix(bits), for uint32; `shifted` is overwritten."""
    np.right_shift(bits, 16, out=shifted)
    bits ^= shifted
    bits *= np.uint32(MIX_1)
    np.right_shift(bits, 15, out=shifted)
    bits ^= shifted
    bits *= np.uint32(MIX_2)
    np.right_shift(bits, 16, out=shifted)
    bits ^= shifted
