"""The built-in optimizers, in place.

For each: `update(optimizer, values, g, slots, rate, step, s, t)` updates 1-D pieces, with s and t
as scratch and the slots in the order of `optimizer.slots`. The mathematics is in
`gpunn.optimizers`; here is only the order of the passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpunn import optimizers
from gpunn.typing import Array

__all__ = ["UPDATE"]


def sgd(
    o: Any,
    values: Array,
    g: Array,
    slots: Sequence[Array],
    rate: float,
    step: int,
    s: Array,
    t: Array,
) -> None:
    np.multiply(g, -rate, out=s)
    if o.momentum:
        (velocity,) = slots
        velocity *= o.momentum
        velocity += s
        if o.nesterov:
            np.multiply(velocity, o.momentum, out=t)
            s += t
        else:
            s = velocity
    values += s


def rmsprop(
    o: Any,
    values: Array,
    g: Array,
    slots: Sequence[Array],
    rate: float,
    step: int,
    s: Array,
    t: Array,
) -> None:
    (square,) = slots
    np.multiply(g, g, out=s)
    s *= 1 - o.rho
    square *= o.rho
    square += s
    np.sqrt(square, out=s)
    s += o.epsilon
    np.divide(g, s, out=s)
    s *= rate
    values -= s


def corrected(o: Any, rate: float, step: int) -> tuple[float, float]:
    """Return Adam's rate and epsilon with both bias corrections taken into them.

    rate * (mean / c1) / (sqrt(square / c2) + epsilon)
    = (rate * sqrt(c2) / c1) * mean / (sqrt(square) + epsilon * sqrt(c2)); `epsilon_hat` is what
    stands there for epsilon * sqrt(c2).
    """
    c1 = -math.expm1(step * math.log(o.beta1)) if o.beta1 else 1.0
    c2 = -math.expm1(step * math.log(o.beta2)) if o.beta2 else 1.0
    epsilon = o.epsilon if o.epsilon_hat else o.epsilon * math.sqrt(c2)
    return rate * math.sqrt(c2) / c1, epsilon


def adam(
    o: Any,
    values: Array,
    g: Array,
    slots: Sequence[Array],
    rate: float,
    step: int,
    s: Array,
    t: Array,
) -> None:
    mean, square = slots
    np.multiply(g, 1 - o.beta1, out=s)
    mean *= o.beta1
    mean += s
    np.multiply(g, g, out=s)
    s *= 1 - o.beta2
    square *= o.beta2
    square += s
    rate, epsilon = corrected(o, rate, step)
    np.sqrt(square, out=s)
    s += epsilon
    np.divide(mean, s, out=s)
    s *= rate
    values -= s


def lion(
    o: Any,
    values: Array,
    g: Array,
    slots: Sequence[Array],
    rate: float,
    step: int,
    s: Array,
    t: Array,
) -> None:
    (mean,) = slots
    np.multiply(g, 1 - o.beta1, out=s)
    np.multiply(mean, o.beta1, out=t)
    s += t
    np.sign(s, out=s)
    s *= rate
    values -= s
    np.multiply(g, 1 - o.beta2, out=s)
    mean *= o.beta2
    mean += s


Update: TypeAlias = Callable[[Any, Array, Array, Sequence[Array], float, int, Array, Array], None]

UPDATE: dict[type[optimizers.Optimizer], Update] = {
    optimizers.SGD: sgd,
    optimizers.RMSprop: rmsprop,
    optimizers.Adam: adam,
    optimizers.AdamW: adam,
    optimizers.Lion: lion,
}
