"""NumPy's overrides of the operations that are worth it.

Elementwise work goes through cache-sized chunks and scratch memory that is allocated once; matrix
products go to NumPy's BLAS. Whatever isn't overridden here, and every activation, loss, metric or
optimizer that isn't built in, runs as the base class defines it.
"""

from __future__ import annotations

import functools
import math
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

import array_api_compat.numpy as xp
import numpy as np

from gpunn.backends.base import GOLDEN, MASK_32, MIX_1, MIX_2, Backend
from gpunn.backends.numpy.activations import PASSES
from gpunn.backends.numpy.bound import Taken, bound
from gpunn.backends.numpy.losses import computation
from gpunn.backends.numpy.memory import zeros
from gpunn.backends.numpy.metrics import MEASURE
from gpunn.backends.numpy.optimizers import UPDATE, decay, numbers
from gpunn.backends.numpy.parts import Parts
from gpunn.backends.numpy.scratch import CHUNK, Scratch, chunks, contiguous
from gpunn.backends.numpy.subnormals import FLUSHED
from gpunn.backends.thread_count import threads_asked_for, usable_cores
from gpunn.backends.turns import TURNS
from gpunn.typing import Array, HostArray, Shape

if TYPE_CHECKING:
    from gpunn.activations import Activation
    from gpunn.losses import Loss
    from gpunn.metrics import Metric
    from gpunn.optimizers import Optimizer

__all__ = ["NumpyBackend"]

T = TypeVar("T")
R = TypeVar("R")

MULTIPLES = np.arange(CHUNK, dtype=np.uint32) * np.uint32(GOLDEN)
"""j * GOLDEN, modulo 2^32, for each position j in a chunk."""


class NumpyBackend(Backend):
    """Computes on the CPU with NumPy.

    Parameters
    ----------
    threads : int or None
        How many threads compute; None is what the variable GPUNN_THREADS holds, or
        OMP_NUM_THREADS, or one for each core that this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(xp, None, "numpy")
        self.options = {} if threads is None else {"threads": threads}
        asked = threads_asked_for(threads)
        self.threads = asked or usable_cores()
        self._limits_blas = asked is not None
        self._scratch = Scratch()
        self._parts = Parts(self.threads)

    def describe(self) -> dict[str, str]:
        return {
            "backend": self.name,
            "device": f"cpu ({platform.machine()})",
            "library": f"numpy {np.__version__}",
            "threads": str(self.threads),
        }

    def zeros(self, shape: Shape, dtype: str) -> Array:
        return zeros(shape, dtype)

    def from_host(self, array: HostArray, dtype: str | None = None) -> Array:
        return np.asarray(array, dtype=dtype, order="C")

    def dtype_name(self, array: Array) -> str:
        return name_of(array.dtype)

    def copy_from_host(self, array: HostArray, out: Array) -> None:
        out[...] = array

    def to_host(self, array: Array) -> np.ndarray:
        return np.array(array, copy=True)

    def copy_to_host(self, array: Array, out: np.ndarray) -> None:
        out[...] = array

    def recorded(
        self, operations: Callable[[], None], complete: bool = False
    ) -> Callable[[int], None]:
        return self._limited(super().recorded(operations, complete))

    def _bound(self, taken: Taken) -> Callable[[int], None]:
        """Return what does recorded operations a number of times."""
        return self._limited(bound(taken, self))

    def recorded_function(
        self, function: Callable[[Array], Array], x: Array, complete: bool = False
    ) -> Callable[[Array], Array]:
        return self._limited(function)

    def _limited(self, function: Callable[[T], R]) -> Callable[[T], R]:
        """Return the same, kept to the threads asked for, and free of subnormal numbers."""
        from gpunn.backends.numpy.blas import find_blas

        blas = find_blas() if self._limits_blas else None

        if blas is None:

            def flushed(argument: T) -> R:
                with FLUSHED:
                    return function(argument)

            return flushed

        def within_limits(argument: T) -> R:
            with blas.limited(self.threads), FLUSHED:
                return function(argument)

        return within_limits

    def computing(self) -> AbstractContextManager[None]:
        return flushed_turn()

    # --------------------------------------------------------------------------- bookkeeping

    def select(self, table: Array, index: Array, out: Array) -> None:
        out[0] = table[int(index[0])]

    def gather_rows(self, source: Array, order: Array, start: Array, out: Array) -> None:
        first = int(start[0])
        rows = order[first : first + out.shape[0]]
        direct = contiguous(source, out)
        gathered = out if direct else self._scratch("gathered", out.shape, source.dtype)
        # Any mode but "raise" lets NumPy write into `out` without a buffer in between; the order
        # is the trainer's own, so no number in it is out of range.
        np.take(source, rows, axis=0, out=gathered, mode="clip")
        if not direct:
            out[...] = gathered

    # ----------------------------------------------------------------------------- layers

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> None:
        np.matmul(a.T if transpose_a else a, b.T if transpose_b else b, out=out)

    def activate(self, activation: Activation, z: Array, bias: Array | None, out: Array) -> None:
        passes = PASSES.get(type(activation))
        if passes is None or not contiguous(z, out):
            super().activate(activation, z, bias, out)
            return
        if bias is not None:
            z += bias
        forward, _ = passes

        def on(z_piece: Array, out_piece: Array) -> None:
            s = self._scratch("s", z_piece.shape, z.dtype)
            t = self._scratch("t", z_piece.shape, z.dtype)
            forward(activation, z_piece, z_piece if out is z else out_piece, s, t)

        self._parts.each(on, z, out)

    def activation_gradient(
        self,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        bias_gradient: Array | None,
    ) -> None:
        passes = PASSES.get(type(activation))
        if passes is None or not contiguous(z, output, gradient):
            super().activation_gradient(activation, z, output, gradient, bias_gradient)
            return
        _, backward = passes

        def on(z_piece: Array, output_piece: Array, gradient_piece: Array) -> None:
            s = self._scratch("s", z_piece.shape, z.dtype)
            t = self._scratch("t", z_piece.shape, z.dtype)
            backward(activation, z_piece, output_piece, gradient_piece, s, t)

        self._parts.each(on, z, output, gradient)
        if bias_gradient is not None:
            np.add.reduce(gradient, axis=0, out=bias_gradient)

    def dropout(self, x: Array, rate: float, key: int, passes: Array, out: Array) -> None:
        if not contiguous(x, out):
            super().dropout(x, rate, key, passes, out)
            return
        pass_key = mix_number((int(passes[0]) * GOLDEN & MASK_32) ^ key)
        threshold, scale = round(rate * 2**32), 1 / (1 - rate)
        unsigned = np.dtype(np.uint32)
        start = 0
        for x_piece, out_piece in chunks(x, out):
            bits = self._scratch("bits", x_piece.shape, unsigned)
            shifted = self._scratch("shifted", x_piece.shape, unsigned)
            # (start + j) * GOLDEN, modulo 2^32
            np.add(MULTIPLES[: bits.size], np.uint32(start * GOLDEN & MASK_32), out=bits)
            bits ^= np.uint32(pass_key)
            mix_in_place(bits, shifted)
            kept = self._scratch("kept", x_piece.shape, np.dtype(np.bool))
            np.greater_equal(bits, threshold, out=kept)
            factor = self._scratch("factor", x_piece.shape, x.dtype)
            factor[...] = kept
            factor *= scale
            np.multiply(x_piece, factor, out=out_piece)
            start += bits.size

    def rescale(self, x: Array, scale: float, offset: float, out: Array) -> None:
        out[...] = x
        out *= scale
        if offset:
            out += offset

    def normalize(
        self,
        x: Array,
        mean: Array,
        variance: Array,
        epsilon: float,
        scale: Array | None,
        shift: Array | None,
        out: Array,
    ) -> None:
        deviation = self._scratch("deviation", mean.shape, mean.dtype)
        np.add(variance, epsilon, out=deviation)
        np.sqrt(deviation, out=deviation)
        np.subtract(x, mean, out=out)
        out /= deviation
        if scale is not None and shift is not None:
            out *= scale
            out += shift

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
        inverse_deviation: Array,
        out: Array,
    ) -> None:
        mean = self._scratch("mean", scale.shape, scale.dtype)
        variance = self._scratch("variance", scale.shape, scale.dtype)
        rows = x.shape[0]
        np.add.reduce(x, axis=0, out=mean)
        mean /= rows
        np.subtract(x, mean, out=normalized)
        np.multiply(normalized, normalized, out=out)
        np.add.reduce(out, axis=0, out=variance)
        variance /= rows
        np.add(variance, epsilon, out=inverse_deviation)
        np.sqrt(inverse_deviation, out=inverse_deviation)
        np.divide(1, inverse_deviation, out=inverse_deviation)
        normalized *= inverse_deviation
        np.multiply(normalized, scale, out=out)
        out += shift
        for running, current in ((running_mean, mean), (running_variance, variance)):
            running *= momentum
            current *= 1 - momentum
            running += current

    def batch_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_deviation: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> None:
        rows = gradient.shape[0]
        product = self._scratch("product", gradient.shape, gradient.dtype)
        factor = self._scratch("factor", scale.shape, scale.dtype)
        np.multiply(gradient, normalized, out=product)
        np.add.reduce(product, axis=0, out=scale_gradient)
        np.add.reduce(gradient, axis=0, out=shift_gradient)
        np.divide(scale_gradient, rows, out=factor)
        np.multiply(normalized, factor, out=product)
        gradient -= product
        np.divide(shift_gradient, rows, out=factor)
        gradient -= factor
        np.multiply(scale, inverse_deviation, out=factor)
        gradient *= factor

    def layer_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        epsilon: float,
        normalized: Array,
        inverse_deviation: Array,
        out: Array,
    ) -> None:
        column = self._scratch("column", inverse_deviation.shape, x.dtype)
        np.add.reduce(x, axis=1, keepdims=True, out=column)
        column /= x.shape[1]
        np.subtract(x, column, out=normalized)
        np.vecdot(normalized, normalized, out=inverse_deviation[:, 0])
        inverse_deviation /= x.shape[1]
        inverse_deviation += epsilon
        np.sqrt(inverse_deviation, out=inverse_deviation)
        np.divide(1, inverse_deviation, out=inverse_deviation)
        normalized *= inverse_deviation
        np.multiply(normalized, scale, out=out)
        out += shift

    def layer_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_deviation: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> None:
        product = self._scratch("product", gradient.shape, gradient.dtype)
        column = self._scratch("column", inverse_deviation.shape, gradient.dtype)
        np.multiply(gradient, normalized, out=product)
        np.add.reduce(product, axis=0, out=scale_gradient)
        np.add.reduce(gradient, axis=0, out=shift_gradient)
        gradient *= scale
        np.vecdot(gradient, normalized, out=column[:, 0])
        column /= gradient.shape[1]
        np.multiply(normalized, column, out=product)
        np.add.reduce(gradient, axis=1, keepdims=True, out=column)
        column /= gradient.shape[1]
        gradient -= column
        gradient -= product
        gradient *= inverse_deviation

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
    ) -> None:
        compute = computation(type(loss))
        outputs = (predictions,) if gradient is None else (predictions, gradient)
        if compute is None or not contiguous(*outputs):
            super().loss(loss, predictions, targets, weights, normalizer, gradient, loss_sum)
            return
        rows = predictions.shape[0]
        values = self._scratch("values", (rows,), predictions.dtype)
        compute(loss, predictions, targets, values, gradient, self._scratch)
        loss_sum += np.vecdot(values, weights)
        if gradient is not None:
            total = float(normalizer[0])
            np.multiply(weights, 1 / total if total > 0 else 1.0, out=values)
            gradient *= values[:, None]

    def metric(
        self, metric: Metric, predictions: Array, targets: Array, weights: Array, summary: Array
    ) -> None:
        measure = MEASURE.get(type(metric))
        if measure is None or not contiguous(predictions):
            super().metric(metric, predictions, targets, weights, summary)
            return
        batch = measure(metric, predictions, targets, weights, self._scratch)
        summary[...] = metric.combine(xp, summary, batch)

    def clip(self, gradients: Array, max_norm: float) -> None:
        norm = math.sqrt(float(np.vecdot(gradients, gradients)))
        if not norm <= max_norm:  # so that a NaN spreads, as it does elsewhere
            gradients *= max_norm / norm

    def penalize(
        self, values: Array, gradients: Array, weight: Array, strength: float, loss_sum: Array
    ) -> None:
        loss_sum += 0.5 * strength * np.vecdot(values, values)
        total = float(weight[0])
        if total > 0:
            for value_piece, gradient_piece in chunks(values, gradients):
                s = self._scratch("s", value_piece.shape, values.dtype)
                np.multiply(value_piece, strength / total, out=s)
                gradient_piece += s

    def update(
        self,
        optimizer: Optimizer,
        values: Array,
        gradients: Array,
        slots: Mapping[str, Array],
        learning_rate: Array,
        step: Array,
        decayed: int,
    ) -> None:
        bind = UPDATE.get(type(optimizer))
        if bind is None:
            super().update(optimizer, values, gradients, slots, learning_rate, step, decayed)
            return
        rate = float(learning_rate[0])
        decay(optimizer, values, decayed, rate)
        rate, epsilon = numbers(optimizer, rate, int(step[0]))
        state = [slots[name] for name in optimizer.slots]
        for run in bind(optimizer, values, gradients, state, self._scratch):
            run(rate, epsilon)
            del run  # before that of the next piece is made


@contextmanager
def flushed_turn() -> Iterator[None]:
    """Have this thread's turn, without subnormal numbers."""
    with TURNS, FLUSHED:
        yield


@functools.cache
def name_of(dtype: np.dtype) -> str:
    """Return a type's name, which takes NumPy as long to put together as a small operation."""
    return dtype.name


def mix_in_place(bits: Array, shifted: Array) -> None:
    """Apply the mixing function of `gpunn.backends.base` to uint32 values."""
    np.right_shift(bits, 16, out=shifted)
    bits ^= shifted
    bits *= np.uint32(MIX_1)
    np.right_shift(bits, 15, out=shifted)
    bits ^= shifted
    bits *= np.uint32(MIX_2)
    np.right_shift(bits, 16, out=shifted)
    bits ^= shifted


def mix_number(bits: int) -> int:
    """Apply the mixing function of `gpunn.backends.base` to one number."""
    bits ^= bits >> 16
    bits = bits * MIX_1 & MASK_32
    bits ^= bits >> 15
    bits = bits * MIX_2 & MASK_32
    return bits ^ (bits >> 16)
