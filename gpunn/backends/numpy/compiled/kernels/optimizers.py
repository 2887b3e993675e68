"""The built-in optimizers, each as one pass over memory, and clipping.

Arguments of each: values_ptr (size,), gradients_ptr (size,), first_ptr and second_ptr (size,), the
optimizer's slots or 0, size, learning_rate_ptr (1,), step_ptr (1,) of int64, which is the number of
the update, from 1 on, weight_decay_ptr (1,) or 0; then floats: a factor of the learning rate, the
weight decay or, where there is a pointer to it, its factor, and the optimizer's own
hyperparameters. Each thread updates a slice. The mathematics is in `gpunn.optimizers`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    load,
    multiply_add,
    sum_of,
    widened,
)
from gpunn.backends.numpy.compiled.kernels.kernel import (
    compiled,
    kernel,
    partition,
    scalar,
    slice_of,
    vector,
)
from gpunn.backends.numpy.compiled.kernels.mathematics import expm1
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers

HYPERPARAMETERS = 10
"""Number of the first argument that is the optimizer's own."""

LANES = 32
"""Elements that a thread's slice is a multiple of: as many as a product's panel in float32."""


@partial(compiled, inline=True)
def own_slices(dtype: Any, args: Any, thread: int, threads: int) -> Any:
    """Return what every optimizer needs.

    That is a thread's slices of values, gradients, first and second slot; the learning rate of its
    segment; and the factor 1 - learning_rate * weight_decay.
    """
    values_ptr, gradients_ptr, first_ptr, second_ptr, size, rate_ptr = integers(args, 0, 6)
    (decay_ptr,) = integers(args, 7, 1)
    rate_factor, weight_decay = floats(args, 8, 2)
    if decay_ptr != 0:
        weight_decay *= float(scalar(dtype, decay_ptr))
    begin, end = partition(size, LANES, thread, threads)
    values = slice_of(dtype, values_ptr, size, begin, end)
    g = slice_of(dtype, gradients_ptr, size, begin, end)
    first = slice_of(dtype, first_ptr, size, begin, end)
    second = slice_of(dtype, second_ptr, size, begin, end)
    rate = values.dtype.type(float(scalar(dtype, rate_ptr)) * rate_factor)
    keep = values.dtype.type(1.0 - float(rate) * weight_decay)
    return values, g, first, second, rate, keep


@kernel
def sgd(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Plain descent, without hyperparameters of its own."""
    values, g, _, _, rate, keep = own_slices(dtype, args, thread, threads)
    for i in range(values.size):
        values[i] = keep * values[i] - rate * g[i]


@kernel
def momentum(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Descent with momentum. Hyperparameters: momentum, 1.0 for Nesterov's and 0.0 for plain."""
    values, g, velocity, _, rate, keep = own_slices(dtype, args, thread, threads)
    factor, is_nesterov = floats(args, HYPERPARAMETERS, 2)
    momentum, nesterov = values.dtype.type(factor), is_nesterov != 0
    for i in range(values.size):
        step = -rate * g[i]
        velocity[i] = momentum * velocity[i] + step
        change = momentum * velocity[i] + step if nesterov else velocity[i]
        values[i] = keep * values[i] + change


@kernel
def rmsprop(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """RMSprop. Hyperparameters: rho, 1 - rho, epsilon."""
    values, g, square, _, rate, keep = own_slices(dtype, args, thread, threads)
    own = floats(args, HYPERPARAMETERS, 3)
    T = values.dtype.type
    rho, rest, epsilon = T(own[0]), T(own[1]), T(own[2])
    for i in range(values.size):
        square[i] = rho * square[i] + rest * g[i] * g[i]
        values[i] = keep * values[i] - rate * g[i] / (np.sqrt(square[i]) + epsilon)


@kernel
def adam(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Adam, with both bias corrections taken into the learning rate and epsilon.

    rate * (mean / c1) / (sqrt(square / c2) + epsilon)
    = (rate * sqrt(c2) / c1) * mean / (sqrt(square) + epsilon * sqrt(c2)).

    Hyperparameters: beta1, 1 - beta1, beta2, 1 - beta2, epsilon, log(beta1), log(beta2), and 1.0 if
    epsilon is that of `epsilon_hat`, which stands in place of epsilon * sqrt(c2).
    """
    values, g, mean, square, learning_rate, keep = own_slices(dtype, args, thread, threads)
    decay1, weight1, decay2, weight2, given_epsilon, log_beta1, log_beta2, is_hat = floats(
        args, HYPERPARAMETERS, 8
    )
    (step_ptr,) = integers(args, 6, 1)
    step = float(scalar(args, step_ptr))
    c1, c2 = -expm1(step * log_beta1), -expm1(step * log_beta2)
    T = values.dtype.type
    rate = T(float(learning_rate) * math.sqrt(c2) / c1)
    epsilon = T(given_epsilon * (1.0 if is_hat != 0 else math.sqrt(c2)))
    beta1, rest1, beta2, rest2 = T(decay1), T(weight1), T(decay2), T(weight2)
    for i in range(values.size):
        mean[i] = beta1 * mean[i] + rest1 * g[i]
        square[i] = beta2 * square[i] + rest2 * g[i] * g[i]
        values[i] = keep * values[i] - rate * mean[i] / (np.sqrt(square[i]) + epsilon)


@kernel
def lion(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Lion. Hyperparameters: beta1, 1 - beta1, beta2, 1 - beta2."""
    values, g, mean, _, rate, keep = own_slices(dtype, args, thread, threads)
    own = floats(args, HYPERPARAMETERS, 4)
    T = values.dtype.type
    beta1, rest1, beta2, rest2 = T(own[0]), T(own[1]), T(own[2]), T(own[3])
    for i in range(values.size):
        values[i] = keep * values[i] - rate * np.sign(beta1 * mean[i] + rest1 * g[i])
        mean[i] = beta2 * mean[i] + rest2 * g[i]


@kernel
def squares(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set sums[thread] = sum of the squares of the thread's slice of x.

    Arguments: x_ptr (size,), size, sums_ptr (threads,) of float64.
    """
    x, size, sums_ptr = integers(args, 0, 3)
    lanes = block_size(dtype)
    begin, end = partition(size, LANES, thread, threads)
    total = widened(block_of(dtype, 0))
    for i in range(begin, end, lanes):
        value = widened(load(dtype, x, i, end - i))
        total = multiply_add(value, value, total)
    vector(args, sums_ptr, thread + 1).view(np.float64)[thread] = sum_of(total)


@compiled
def sum_of_squares(args: Any, sums_ptr: int, threads: int) -> float:
    """Return the sum of what `squares` gave for each thread, in their order."""
    sums = vector(args, sums_ptr, threads).view(np.float64)
    total = 0.0
    for other in range(threads):
        total += sums[other]
    return total


@kernel
def l2_penalty(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """As `Backend.l2_penalty`; each thread changes a slice of the gradients.

    Arguments: values_ptr (size,), gradients_ptr (size,), size, sums_ptr (threads,) of `squares` of
    the values, weight_ptr (1,), loss_sum_ptr (1,), strength (float).
    """
    values_ptr, gradients_ptr, size, sums_ptr, weight_ptr, loss_sum_ptr = integers(args, 0, 6)
    (strength,) = floats(args, 6, 1)
    begin, end = partition(size, LANES, thread, threads)
    values = slice_of(dtype, values_ptr, size, begin, end)
    gradients = slice_of(dtype, gradients_ptr, size, begin, end)
    weight = float(scalar(dtype, weight_ptr))
    T = values.dtype.type
    if thread == 0:
        total = sum_of_squares(args, sums_ptr, threads)
        vector(dtype, loss_sum_ptr, 1)[0] += T(0.5 * strength * total)
    if weight > 0:
        factor = T(strength / weight)
        for i in range(end - begin):
            gradients[i] += factor * values[i]


@kernel
def clip(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set g = g * min(1, max_norm / ||g||); each thread scales a slice.

    Arguments: g_ptr (size,), size, sums_ptr (threads,) of `squares` of g, max_norm (float).
    """
    g_ptr, size, sums_ptr = integers(args, 0, 3)
    (max_norm,) = floats(args, 3, 1)
    norm = math.sqrt(sum_of_squares(args, sums_ptr, threads))
    if not norm <= max_norm:  # so that a NaN spreads, as it does elsewhere
        begin, end = partition(size, LANES, thread, threads)
        g = slice_of(dtype, g_ptr, size, begin, end)
        factor = g.dtype.type(max_norm / norm)
        for i in range(end - begin):
            g[i] *= factor
