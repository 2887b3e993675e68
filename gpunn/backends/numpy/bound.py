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

from gpunn.activations import Identity
from gpunn.backends.numpy.activations import CHEAP, PASSES
from gpunn.backends.numpy.losses import COMPUTE
from gpunn.backends.numpy.optimizers import UPDATE, decay, numbers
from gpunn.backends.numpy.parts import LARGE
from gpunn.backends.numpy.scratch import CHUNK, Scratch, contiguous
from gpunn.typing import Array

if TYPE_CHECKING:
    from gpunn.activations import Activation
    from gpunn.backends.numpy.backend import NumpyBackend
    from gpunn.losses import Loss
    from gpunn.optimizers import Optimizer

__all__ = ["Calls", "bound"]

Calls: TypeAlias = list[Callable[[], Any]]

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
        left, right = a.T if transpose_a else a, b.T if transpose_b else b
        return [partial(np.matmul, left, right, out=out)]

    def activate(self, activation: Activation, z: Array, bias: Array | None, out: Array) -> Calls:
        if not self._worth_binding(activation, z, out):
            return [partial(self.backend.activate, activation, z, bias, out)]
        forward, _ = PASSES[type(activation)]
        nothing = type(activation) is Identity and out is z
        calls: Calls = []
        for block in blocks(z):
            z_block = z[block]
            if bias is not None:
                calls.append(partial(np.add, z_block, bias, z_block))
            if not nothing:
                piece = z_block.reshape(-1)
                target = piece if out is z else out[block].reshape(-1)
                calls.append(partial(forward, activation, piece, target, *self._pair(piece)))
        return calls

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
        _, backward = PASSES[type(activation)]
        calls: Calls = []
        if type(activation) is not Identity:
            for block in blocks(z):
                arrays = [array[block].reshape(-1) for array in (z, output, gradient)]
                calls.append(partial(backward, activation, *arrays, *self._pair(arrays[0])))
        if bias_gradient is not None:
            ones = np.ones(gradient.shape[0], gradient.dtype)
            calls.append(partial(np.matmul, ones, gradient, out=bias_gradient))
        return calls

    def _worth_binding(self, activation: Activation, *arrays: Array) -> bool:
        """Return whether one thread should compute this, and NumPy has passes for it."""
        kind, size = type(activation), arrays[0].size
        return kind in PASSES and contiguous(*arrays) and (kind in CHEAP or size < LARGE)

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
        calls += self.matmul(x, gradient, weight_gradient, transpose_a=True)
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
        compute = COMPUTE.get(type(loss))
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
    many = max(1, CHUNK * rows // max(z.size, 1))
    return [slice(start, start + many) for start in range(0, rows, many)]
