"""The built-in optimizers, each as one pass over memory, and clipping.

Words of each: values, gradients, first and second slot (or 0), size, learning rate, number of the
update, bits of the weight decay, then bits of the optimizer's own numbers. The mathematics is in
`gpunn.optimizers`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import carray

from gpunn.backends.numpy.compiled.kernel import (
    Kernel,
    compiled,
    integers,
    number,
    partition,
    slice_of,
    vector,
)
from gpunn.backends.numpy.compiled.pointers import pointer

__all__ = [
    "ADAM",
    "CLIP",
    "COUNT",
    "FIRST",
    "GRADIENTS",
    "L2_PENALTY",
    "LION",
    "MOMENTUM",
    "RMSPROP",
    "SECOND",
    "SGD",
    "SQUARES",
    "VALUES",
]

VALUES, GRADIENTS, FIRST, SECOND, COUNT = range(5)
"""The words that say which parameters: where they, their gradients and slots are, and how many."""

LANES = 32
"""Elements that a thread's part is a multiple of: as many as a product's panel in float32."""


@compiled
def own(dtype: Any, w: Any, which: int, begin: int, end: int) -> Any:
    """Return a thread's part of the values, gradients or a slot."""
    return slice_of(dtype, w[which], w[COUNT], begin, end)


@Kernel
def SGD(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Plain descent."""
    w = integers(args)
    begin, end = partition(w[COUNT], LANES, thread, threads)
    values, g = (
        own(dtype, w, VALUES, begin, end),
        own(dtype, w, GRADIENTS, begin, end),
    )
    T = values.dtype.type
    rate = vector(dtype, w[5], 1)[0]
    keep = T(1.0 - float(rate) * number(w[7]))
    for i in range(end - begin):
        values[i] = keep * values[i] - rate * g[i]


@Kernel
def MOMENTUM(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Descent with momentum. Own numbers: momentum, whether it is Nesterov's."""
    w = integers(args)
    begin, end = partition(w[COUNT], LANES, thread, threads)
    values, g = (
        own(dtype, w, VALUES, begin, end),
        own(dtype, w, GRADIENTS, begin, end),
    )
    velocity = own(dtype, w, FIRST, begin, end)
    T = values.dtype.type
    rate, momentum, nesterov = vector(dtype, w[5], 1)[0], T(number(w[8])), number(w[9]) != 0
    keep = T(1.0 - float(rate) * number(w[7]))
    for i in range(end - begin):
        step = -rate * g[i]
        velocity[i] = momentum * velocity[i] + step
        change = momentum * velocity[i] + step if nesterov else velocity[i]
        values[i] = keep * values[i] + change


@Kernel
def RMSPROP(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """RMSprop. Own numbers: rho, 1 - rho, epsilon."""
    w = integers(args)
    begin, end = partition(w[COUNT], LANES, thread, threads)
    values, g, square = (
        own(dtype, w, VALUES, begin, end),
        own(dtype, w, GRADIENTS, begin, end),
        own(dtype, w, FIRST, begin, end),
    )
    T = values.dtype.type
    rate = vector(dtype, w[5], 1)[0]
    rho, rest, epsilon = T(number(w[8])), T(number(w[9])), T(number(w[10]))
    keep = T(1.0 - float(rate) * number(w[7]))
    for i in range(end - begin):
        square[i] = rho * square[i] + rest * g[i] * g[i]
        values[i] = keep * values[i] - rate * g[i] / (np.sqrt(square[i]) + epsilon)


@Kernel
def ADAM(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Adam. Own numbers: beta1, 1 - beta1, beta2, 1 - beta2, epsilon, logarithms of the betas, hat.

    The last one says whether epsilon is the one of `epsilon_hat`.

    Both bias corrections are taken into rate and epsilon:
    rate * (mean / c1) / (sqrt(square / c2) + epsilon)
    = (rate * sqrt(c2) / c1) * mean / (sqrt(square) + epsilon * sqrt(c2)).
    """
    w = integers(args)
    begin, end = partition(w[COUNT], LANES, thread, threads)
    values, g = (
        own(dtype, w, VALUES, begin, end),
        own(dtype, w, GRADIENTS, begin, end),
    )
    mean, square = (
        own(dtype, w, FIRST, begin, end),
        own(dtype, w, SECOND, begin, end),
    )
    T = values.dtype.type
    step = float(carray(pointer(args, w[6]), 1)[0])
    learning_rate = float(vector(dtype, w[5], 1)[0])
    c1, c2 = -math.expm1(step * number(w[13])), -math.expm1(step * number(w[14]))
    rate, epsilon = (
        T(learning_rate * math.sqrt(c2) / c1),
        T(number(w[12]) * (1.0 if number(w[15]) != 0 else math.sqrt(c2))),
    )
    beta1, rest1 = T(number(w[8])), T(number(w[9]))
    beta2, rest2 = T(number(w[10])), T(number(w[11]))
    keep = T(1.0 - float(learning_rate) * number(w[7]))
    for i in range(end - begin):
        mean[i] = beta1 * mean[i] + rest1 * g[i]
        square[i] = beta2 * square[i] + rest2 * g[i] * g[i]
        values[i] = keep * values[i] - rate * mean[i] / (np.sqrt(square[i]) + epsilon)


@Kernel
def LION(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Lion. Own numbers: beta1, 1 - beta1, beta2, 1 - beta2."""
    w = integers(args)
    begin, end = partition(w[COUNT], LANES, thread, threads)
    values, g, mean = (
        own(dtype, w, VALUES, begin, end),
        own(dtype, w, GRADIENTS, begin, end),
        own(dtype, w, FIRST, begin, end),
    )
    T = values.dtype.type
    rate = vector(dtype, w[5], 1)[0]
    beta1, rest1 = T(number(w[8])), T(number(w[9]))
    beta2, rest2 = T(number(w[10])), T(number(w[11]))
    keep = T(1.0 - float(rate) * number(w[7]))
    for i in range(end - begin):
        values[i] = keep * values[i] - rate * np.sign(beta1 * mean[i] + rest1 * g[i])
        mean[i] = beta2 * mean[i] + rest2 * g[i]


@Kernel
def SQUARES(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set sums[thread] = sum of the squares of its part. Words: g, size, sums (float64)."""
    w = integers(args)
    begin, end = partition(w[1], LANES, thread, threads)
    g = slice_of(dtype, w[0], w[1], begin, end)
    size = end - begin
    # Four sums at a time: one alone would wait for each addition to end.
    a = b = c = d = 0.0
    whole = size - size % 4
    for i in range(0, whole, 4):
        a += float(g[i]) * float(g[i])
        b += float(g[i + 1]) * float(g[i + 1])
        c += float(g[i + 2]) * float(g[i + 2])
        d += float(g[i + 3]) * float(g[i + 3])
    for i in range(whole, size):
        a += float(g[i]) * float(g[i])
    carray(pointer(args, w[2]), thread + 1).view(np.float64)[thread] = (a + b) + (c + d)


@Kernel
def L2_PENALTY(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """As `Backend.l2_penalty`.

    Words: values, gradients, size, sums of `SQUARES` of the values, weight, bits of the strength,
    loss_sum.
    """
    w = integers(args)
    begin, end = partition(w[2], LANES, thread, threads)
    values, gradients = (
        slice_of(dtype, w[0], w[2], begin, end),
        slice_of(dtype, w[1], w[2], begin, end),
    )
    weight, strength = float(vector(dtype, w[4], 1)[0]), number(w[5])
    T = values.dtype.type
    if thread == 0:
        total = 0.0
        sums = carray(pointer(args, w[3]), threads).view(np.float64)
        for other in range(threads):
            total += sums[other]
        vector(dtype, w[6], 1)[0] += T(0.5 * strength * total)
    if weight > 0:
        factor = T(strength / weight)
        for i in range(end - begin):
            gradients[i] += factor * values[i]


@Kernel
def CLIP(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set g = g * min(1, max_norm / ||g||). Words: g, size, sums of `SQUARES`, bits of max_norm."""
    w = integers(args)
    g = vector(dtype, w[0], w[1])
    total = 0.0
    sums = carray(pointer(args, w[2]), threads).view(np.float64)
    for other in range(threads):
        total += sums[other]
    norm, limit = math.sqrt(total), number(w[3])
    if not norm <= limit:  # so that a NaN spreads, as it does elsewhere
        factor = g.dtype.type(limit / norm)
        begin, end = partition(w[1], LANES, thread, threads)
        mine = g[begin:end]
        for i in range(end - begin):
            mine[i] *= factor
