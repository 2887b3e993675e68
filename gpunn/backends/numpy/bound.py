"""A recorded step as a list of calls, in which everything is looked up that can be before it runs.

For each operation that small networks spend their time in there is a method with the same
arguments. It returns what is to be called, in order: NumPy's own functions with views and scratch
memory made once. None means that the backend's method is as good: an array that isn't contiguous, a
loss of the user's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gpunn.activations import Identity, ReLU
from gpunn.backends.numpy.activations import CHEAP, PASSES
from gpunn.backends.numpy.losses import computation
from gpunn.backends.numpy.optimizers import UPDATE, decay, numbers
from gpunn.backends.numpy.parts import LARGE
from gpunn.backends.numpy.scratch import CHUNK, Scratch, contiguous
from gpunn.typing import Array, Shape

if TYPE_CHECKING:
    from gpunn.activations import Activation
    from gpunn.backends.numpy.backend import NumpyBackend
    from gpunn.losses import Loss
    from gpunn.optimizers import Optimizer

__all__ = ["Calls", "bound"]

Calls: TypeAlias = list[Callable[[], Any]]

SHORT, UNDIVIDED = 128, 512
"""Rows and inputs up to which OpenBLAS does not divide the gradient of the weights well among its
threads, unless it is asked for half as many units at a time."""

NARROW = 32
"""Units up to which a turned copy of the weights takes little beside a product with them."""

SKINNY, WIDE = 32, 1 << 16
"""Rows up to which, and weights from which, the transpose of a product is computed sooner, and
turned back, than the product."""

BOOL = np.dtype(np.bool)

Taken: TypeAlias = Sequence[tuple[str, tuple[Any, ...], Mapping[str, Any]]]
"""Operations in order: their names and their arguments."""


def bound(taken: Taken, backend: NumpyBackend) -> Callable[[int], None]:
    """Return a function that does these operations a number of times, given as its argument."""
    binder = Binder(backend)
    calls: Calls = []
    for name, arguments, named in taken:
        bind = getattr(binder, name, None)
        own = bind(*arguments, **named) if bind else None
        calls += [partial(getattr(backend, name), *arguments, **named)] if own is None else own

    def repeat(times: int) -> None:
        for _ in range(times):
            for call in calls:
                call()

    return repeat


class Binder:
    """Makes calls.

    Parameters
    ----------
    backend : NumpyBackend
        Does what there are no calls for.
    """

    def __init__(self, backend: NumpyBackend) -> None:
        self.backend: Any = backend
        self.scratch = Scratch()
        self._nothing: dict[np.dtype, np.ndarray] = {}

    # --------------------------------------------------------------------------- bookkeeping

    def gather_rows(self, source: Array, order: Array, start: Array, out: Array) -> Calls | None:
        if not contiguous(source, out):
            return None
        rows, take = out.shape[0], source.take

        def gather() -> None:
            first = int(start[0])
            take(order[first : first + rows], axis=0, out=out, mode="clip")

        return [gather]

    def count_pass(self, start: Array, rows: int, passes: Array) -> Calls:
        many, one = np.array([rows], start.dtype), np.array([1], passes.dtype)
        return [partial(np.add, start, many, start), partial(np.add, passes, one, passes)]

    def count_update(
        self,
        rates: Array,
        position: Array,
        rate: Array,
        updates: Array,
        weight: Array,
        loss_sum: Array,
        weight_sum: Array,
        finite_steps: Array,
    ) -> Calls:
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
        if transpose_b and not transpose_a:
            return self._input_gradient(a, b, out)
        left, right = a.T if transpose_a else a, b.T if transpose_b else b
        return [partial(np.matmul, left, right, out=out)]

    def _weight_gradient(self, x: Array, gradient: Array, out: Array) -> Calls:
        """Set out = x.T @ gradient."""
        (rows, units), inputs = gradient.shape, x.shape[1]
        width = units
        if rows <= SHORT and inputs <= UNDIVIDED and self.backend.threads > 1:
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
            turned = self.scratch("turned", weights.shape[::-1], weights.dtype)
            return [
                partial(np.copyto, turned, weights.T),
                partial(np.matmul, gradient, turned, out=out),
            ]
        if rows <= SKINNY and weights.size >= WIDE:
            turned = self.scratch("turned", out.shape[::-1], out.dtype)
            return [
                partial(np.matmul, weights, gradient.T, out=turned),
                partial(np.copyto, out, turned.T),
            ]
        return [partial(np.matmul, gradient, weights.T, out=out)]

    def activate(self, activation: Activation, z: Array, bias: Array | None, out: Array) -> Calls:
        if not self._worth_binding(activation, z, out):
            return [partial(self.backend.activate, activation, z, bias, out)]
        runs = blocks(z)
        calls, bias = self._repeated(bias, z[runs[0]].shape, len(runs))
        for run in runs:
            block = z[run]
            if bias is not None:
                term = bias if bias.ndim == 1 else bias[: block.shape[0]]
                calls.append(partial(np.add, block, term, block))
            piece = block.reshape(-1)
            target = piece if out is z else out[run].reshape(-1)
            calls += self._forward(activation, piece, target)
        return calls

    def _repeated(self, bias: Array | None, shape: Shape, times: int) -> tuple[Calls, Array | None]:
        """Return the bias once a row, if it is added so often that this pays, and what fills it.

        NumPy adds equal shapes nearly twice as fast as a row to every row.
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
        forward, _ = PASSES[kind]
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
        _, backward = PASSES[kind]
        return [partial(backward, activation, z, output, gradient, *self._pair(z))]

    def _zeros(self, piece: Array) -> Array:
        """Return zeros, never to be written to: twice as fast as the number 0 as an operand."""
        if piece.dtype not in self._nothing:
            self._nothing[piece.dtype] = np.zeros(0, piece.dtype)
        if self._nothing[piece.dtype].size < piece.size:
            self._nothing[piece.dtype] = np.zeros(piece.size, piece.dtype)
        return self._nothing[piece.dtype][: piece.size]

    def activation_gradient(
        self,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        bias_gradient: Array | None,
    ) -> Calls:
        if not self._worth_binding(activation, z, output, gradient):
            operation = self.backend.activation_gradient
            return [partial(operation, activation, z, output, gradient, bias_gradient)]
        calls: Calls = []
        for run in blocks(z):
            pieces = [array[run].reshape(-1) for array in (z, output, gradient)]
            calls += self._backward(activation, *pieces)
        if bias_gradient is not None:
            ones = np.ones(gradient.shape[0], gradient.dtype)
            calls.append(partial(np.matmul, ones, gradient, out=bias_gradient))
        return calls

    def _worth_binding(self, activation: Activation, *arrays: Array) -> bool:
        """Return whether one thread should compute this, and NumPy has passes for it."""
        kind, size = type(activation), arrays[0].size
        if kind not in PASSES or not size or not contiguous(*arrays):
            return False
        return kind in CHEAP or size < LARGE or self.backend.threads == 1

    def _pair(self, piece: Array) -> tuple[Array, Array]:
        scratch = self.scratch
        return scratch("s", piece.shape, piece.dtype), scratch("t", piece.shape, piece.dtype)

    def dense(
        self,
        x: Array,
        weights: Array,
        bias: Array | None,
        activation: Activation,
        z: Array,
        out: Array,
    ) -> Calls:
        return [*self.matmul(x, weights, z), *self.activate(activation, z, bias, out)]

    def dense_gradient(
        self,
        x: Array,
        weights: Array,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        weight_gradient: Array,
        bias_gradient: Array | None,
        input_gradient: Array | None,
    ) -> Calls:
        calls = self.activation_gradient(activation, z, output, gradient, bias_gradient)
        calls += self._weight_gradient(x, gradient, weight_gradient)
        if input_gradient is not None:
            calls += self.matmul(gradient, weights, input_gradient, transpose_b=True)
        return calls

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
        if compute is None or gradient is None or not contiguous(predictions, gradient):
            return None
        rows, dtype = predictions.shape[0], predictions.dtype
        values = self.scratch("values", (rows,), dtype)
        total = self.scratch("total", (), dtype)
        share = self.scratch("share", (rows, 1), dtype)

        def add_up() -> None:
            np.vecdot(values, weights, out=total)
            np.add(loss_sum, total, loss_sum)
            weight = float(normalizer[0])
            np.multiply(weights, 1 / weight if weight > 0 else 1.0, out=share[:, 0])
            np.multiply(gradient, share, gradient)

        return [
            partial(compute, loss, predictions, targets, values, gradient, self.scratch),
            add_up,
        ]

    def update(
        self,
        optimizer: Optimizer,
        values: Array,
        gradients: Array,
        slots: Mapping[str, Array],
        learning_rate: Array,
        step: Array,
        decayed: int,
    ) -> Calls | None:
        bind = UPDATE.get(type(optimizer))
        if bind is None:
            return None
        state = [slots[name] for name in optimizer.slots]
        runs = list(bind(optimizer, values, gradients, state, self.scratch))

        def update() -> None:
            rate = float(learning_rate[0])
            decay(optimizer, values, decayed, rate)
            rate, epsilon = numbers(optimizer, rate, int(step[0]))
            for run in runs:
                run(rate, epsilon)

        return [update]


def blocks(z: Array) -> list[slice]:
    """Return runs of rows that fit into the cache."""
    rows = z.shape[0]
    many = max(1, CHUNK * rows // z.size)
    return [slice(start, start + many) for start in range(0, rows, many)]
