"""The built-in optimizers as one compiled loop each, where numba is installed.

One pass over memory instead of the dozen that separate NumPy calls take. The compiled code is
cached beside this file (or where NUMBA_CACHE_DIR says), so that only the first process compiles.
No fast-math: the loops round as written, and the same on every run.

For each: `update(optimizer, values, g, slots, rate, step, keep)` updates whole vectors, after
multiplying `values` with `keep` (1 without weight decay). The mathematics is in
`gpunn.optimizers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numba
import numpy as np

from gpunn import optimizers
from gpunn.backends.numpy.optimizers import corrected
from gpunn.typing import Array

__all__ = ["UPDATE"]


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function compiled, kept on disk where there is a place for that."""
    options = {"error_model": "numpy", "nogil": True}
    try:
        loop: Callable[..., None] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor a cache folder can be written to
        loop = numba.njit(**options)(function)
    return loop


@compiled
def sgd_loop(values: Array, g: Array, keep: Any, rate: Any) -> None:
    for i in range(values.size):
        values[i] = keep * values[i] - rate * g[i]


@compiled
def momentum_loop(
    values: Array, g: Array, velocity: Array, keep: Any, rate: Any, momentum: Any, nesterov: bool
) -> None:
    for i in range(values.size):
        change = -rate * g[i]
        velocity[i] = momentum * velocity[i] + change
        change = momentum * velocity[i] + change if nesterov else velocity[i]
        values[i] = keep * values[i] + change


@compiled
def rmsprop_loop(
    values: Array, g: Array, square: Array, keep: Any, rate: Any, rho: Any, rest: Any, epsilon: Any
) -> None:
    for i in range(values.size):
        square[i] = rho * square[i] + rest * g[i] * g[i]
        values[i] = keep * values[i] - rate * g[i] / (np.sqrt(square[i]) + epsilon)


@compiled
def adam_loop(
    values: Array,
    g: Array,
    mean: Array,
    square: Array,
    keep: Any,
    rate: Any,
    beta1: Any,
    rest1: Any,
    beta2: Any,
    rest2: Any,
    epsilon: Any,
) -> None:
    for i in range(values.size):
        mean[i] = beta1 * mean[i] + rest1 * g[i]
        square[i] = beta2 * square[i] + rest2 * g[i] * g[i]
        values[i] = keep * values[i] - rate * mean[i] / (np.sqrt(square[i]) + epsilon)


@compiled
def lion_loop(
    values: Array,
    g: Array,
    mean: Array,
    keep: Any,
    rate: Any,
    beta1: Any,
    rest1: Any,
    beta2: Any,
    rest2: Any,
) -> None:
    for i in range(values.size):
        values[i] = keep * values[i] - rate * np.sign(beta1 * mean[i] + rest1 * g[i])
        mean[i] = beta2 * mean[i] + rest2 * g[i]


def sgd(
    o: Any, values: Array, g: Array, slots: Sequence[Array], rate: float, step: int, keep: float
) -> None:
    T = values.dtype.type  # Python floats would make the loops compute in float64
    if o.momentum:
        momentum_loop(values, g, *slots, T(keep), T(rate), T(o.momentum), o.nesterov)
    else:
        sgd_loop(values, g, T(keep), T(rate))


def rmsprop(
    o: Any, values: Array, g: Array, slots: Sequence[Array], rate: float, step: int, keep: float
) -> None:
    T = values.dtype.type
    rmsprop_loop(values, g, *slots, T(keep), T(rate), T(o.rho), T(1 - o.rho), T(o.epsilon))


def adam(
    o: Any, values: Array, g: Array, slots: Sequence[Array], rate: float, step: int, keep: float
) -> None:
    T = values.dtype.type
    rate, epsilon = corrected(o, rate, step)
    betas = T(o.beta1), T(1 - o.beta1), T(o.beta2), T(1 - o.beta2)
    adam_loop(values, g, *slots, T(keep), T(rate), *betas, T(epsilon))


def lion(
    o: Any, values: Array, g: Array, slots: Sequence[Array], rate: float, step: int, keep: float
) -> None:
    T = values.dtype.type
    betas = T(o.beta1), T(1 - o.beta1), T(o.beta2), T(1 - o.beta2)
    lion_loop(values, g, *slots, T(keep), T(rate), *betas)


Update: TypeAlias = Callable[[Any, Array, Array, Sequence[Array], float, int, float], None]

UPDATE: dict[type[optimizers.Optimizer], Update] = {
    optimizers.SGD: sgd,
    optimizers.RMSprop: rmsprop,
    optimizers.Adam: adam,
    optimizers.AdamW: adam,
    optimizers.Lion: lion,
}
