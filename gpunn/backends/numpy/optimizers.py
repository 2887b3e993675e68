"""The built-in optimizers, in place.

For each: `bind(optimizer, values, g, slots, scratch)` takes 1-D arrays, the slots in the order of
`optimizer.slots`. It yields functions of `(rate, epsilon)`, which `bias_corrected` gives. Together
they do an update, each that of one cache-sized chunk. The mathematics is in `gpunn.optimizers`;
here is only the order of the passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpunn import optimizers
from gpunn.backends.numpy.axpby import axpby, axpy
from gpunn.backends.numpy.scratch import Scratch
from gpunn.typing import Array

__all__ = ["UPDATE", "bias_corrected", "decay"]

UPDATE_CHUNK = 1 << 18
"""Bytes of each array that are updated at a time: few enough for a core's L2 cache to hold them
all, and enough that calls take little beside the work."""

Run: TypeAlias = Callable[[float, float], None]
Bind: TypeAlias = Callable[[Any, Array, Array, Sequence[Array], Scratch], Iterator[Run]]


def chunks_with_scratch(scratch: Scratch, *arrays: Array) -> Iterator[list[Array]]:
    """Yield lists of the same chunk of each 1-D array, and two chunks of scratch, in order."""
    size, dtype = arrays[0].size, arrays[0].dtype
    most = UPDATE_CHUNK // dtype.itemsize
    for start in range(0, size, most):
        length = min(most, size - start)
        s, t = (scratch(name, (length,), dtype) for name in ("update s", "update t"))
        yield [*(array[start : start + length] for array in arrays), s, t]


def sgd(o: Any, values: Array, g: Array, slots: Sequence[Array], scratch: Scratch) -> Iterator[Run]:
    whole = None if o.momentum else axpy(g, values)
    if whole is not None:
        yield lambda rate, epsilon: whole(-rate)
    elif o.momentum:
        for chunk in chunks_with_scratch(scratch, values, g, *slots):
            yield momentum(o, *chunk)
    else:
        for x, gradient, s, _ in chunks_with_scratch(scratch, values, g):
            descend = axpby(gradient, x, s)
            yield lambda rate, epsilon, descend=descend: descend(-rate, 1.0)  # type: ignore[misc]


def momentum(o: Any, x: Array, g: Array, velocity: Array, s: Array, t: Array) -> Run:
    accelerate, add_gradient = axpby(g, velocity, s), axpby(g, x, s)
    add_velocity = axpby(velocity, x, s)

    def plain(rate: float, epsilon: float) -> None:
        accelerate(-rate, o.momentum)
        np.add(x, velocity, out=x)

    def nesterov(rate: float, epsilon: float) -> None:
        accelerate(-rate, o.momentum)
        add_gradient(-rate, 1.0)
        add_velocity(o.momentum, 1.0)

    return nesterov if o.nesterov else plain


def rmsprop(o: Any, x: Array, g: Array, square: Array, s: Array, t: Array) -> Run:
    average, descend = axpby(s, square, t), axpby(s, x, t)

    def run(rate: float, epsilon: float) -> None:
        np.multiply(g, g, out=s)
        average(1 - o.rho, o.rho)
        np.sqrt(square, out=s)
        np.add(s, epsilon, out=s)
        np.divide(g, s, out=s)
        descend(-rate, 1.0)

    return run


def adam(o: Any, x: Array, g: Array, mean: Array, square: Array, s: Array, t: Array) -> Run:
    average, average_squares = axpby(g, mean, t), axpby(s, square, t)
    descend = axpby(s, x, t)

    def run(rate: float, epsilon: float) -> None:
        average(1 - o.beta1, o.beta1)
        np.multiply(g, g, out=s)
        average_squares(1 - o.beta2, o.beta2)
        np.sqrt(square, out=s)
        np.add(s, epsilon, out=s)
        np.divide(mean, s, out=s)
        descend(-rate, 1.0)

    return run


def lion(o: Any, x: Array, g: Array, mean: Array, s: Array, t: Array) -> Run:
    interpolate, descend = axpby(mean, s, t), axpby(s, x, t)
    average = axpby(g, mean, t)

    def run(rate: float, epsilon: float) -> None:
        np.multiply(g, 1 - o.beta1, out=s)
        interpolate(o.beta1, 1.0)
        np.sign(s, out=s)
        descend(-rate, 1.0)
        average(1 - o.beta2, o.beta2)

    return run


def by_chunks(bind: Callable[..., Run]) -> Bind:
    """Return what binds an update of whole vectors, from what binds that of a chunk."""

    def bind_all(
        o: Any, values: Array, g: Array, slots: Sequence[Array], scratch: Scratch
    ) -> Iterator[Run]:
        for chunk in chunks_with_scratch(scratch, values, g, *slots):
            yield bind(o, *chunk)

    return bind_all


UPDATE: dict[type[optimizers.Optimizer], Bind] = {
    optimizers.SGD: sgd,
    optimizers.RMSprop: by_chunks(rmsprop),
    optimizers.Adam: by_chunks(adam),
    optimizers.AdamW: by_chunks(adam),
    optimizers.Lion: by_chunks(lion),
}


def decay(o: Any, values: Array, decayed: int, rate: float) -> None:
    """Shrink the first `decayed` values by the weight decay that is part of an update."""
    if o.weight_decay and decayed:
        np.multiply(values[:decayed], 1 - rate * o.weight_decay, out=values[:decayed])


def bias_corrected(o: Any, rate: float, step: int) -> tuple[float, float]:
    """Return the learning rate and epsilon of an update, with Adam's bias corrections in them.

    rate * (mean / c1) / (sqrt(square / c2) + epsilon)
    = (rate * sqrt(c2) / c1) * mean / (sqrt(square) + epsilon * sqrt(c2)); `epsilon_hat` is what
    stands there for epsilon * sqrt(c2).
    """
    if not isinstance(o, optimizers.Adam):
        return rate, getattr(o, "epsilon", 0.0)
    c1 = -math.expm1(step * math.log(o.beta1)) if o.beta1 else 1.0
    c2 = -math.expm1(step * math.log(o.beta2)) if o.beta2 else 1.0
    epsilon = o.epsilon if o.epsilon_hat else o.epsilon * math.sqrt(c2)
    return rate * math.sqrt(c2) / c1, epsilon
