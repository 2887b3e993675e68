"""Gradient clipping, L2 penalties, and the built-in optimizers, which read each parameter once.

`gpunn.optimizers` has the mathematics.
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
    store,
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
from gpunn.backends.numpy.compiled.kernels.lanewise import lanewise
from gpunn.backends.numpy.compiled.kernels.mathematics import divided, expm1, root
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers

HYPERPARAMETERS = 10
"""Index of an optimizer's first hyperparameter among its kernel's arguments."""

LANES = 32
"""The numbers in a row of a float32 panel. A thread's slice has a multiple of this size."""


quotient, root_of = lanewise(divided), lanewise(root)
"""Element by element: the quotient of two blocks, and the square root of a block."""


@partial(compiled, inline=True)
def thread_rates(dtype: Any, args: Any) -> Any:
    rate_ptr, _, decay_ptr = integers(args, 5, 3)
    rate_factor, weight_decay = floats(args, 8, 2)
    if decay_ptr != 0:
        weight_decay *= float(scalar(dtype, decay_ptr))
    T = vector(dtype, rate_ptr, 1).dtype.type
    rate = T(float(scalar(dtype, rate_ptr)) * rate_factor)
    return rate, T(1.0 - float(rate) * weight_decay)


@partial(compiled, inline=True)
def thread_slices(dtype: Any, args: Any, thread: int, threads: int) -> Any:
    values_ptr, gradients_ptr, first_ptr, second_ptr, size = integers(args, 0, 5)
    begin, end = partition(size, LANES, thread, threads)
    values = slice_of(dtype, values_ptr, size, begin, end)
    g = slice_of(dtype, gradients_ptr, size, begin, end)
    first = slice_of(dtype, first_ptr, size, begin, end)
    second = slice_of(dtype, second_ptr, size, begin, end)
    rate, keep = thread_rates(dtype, args)
    return values, g, first, second, rate, keep


@kernel
def sgd(dtype: Any, args: Any, thread: int, threads: int) -> None:
    values, g, _, _, rate, keep = thread_slices(dtype, args, thread, threads)
    for i in range(values.size):
        values[i] = keep * values[i] - rate * g[i]


@kernel
def momentum(dtype: Any, args: Any, thread: int, threads: int) -> None:
    values, g, velocity, _, rate, keep = thread_slices(dtype, args, thread, threads)
    factor, is_nesterov = floats(args, HYPERPARAMETERS, 2)
    momentum, nesterov = values.dtype.type(factor), is_nesterov != 0
    for i in range(values.size):
        step = -rate * g[i]
        velocity[i] = momentum * velocity[i] + step
        change = momentum * velocity[i] + step if nesterov else velocity[i]
        values[i] = keep * values[i] + change


@kernel
def rmsprop(dtype: Any, args: Any, thread: int, threads: int) -> None:
    values, gradients, squares, _, size = integers(args, 0, 5)
    rate, keep = thread_rates(dtype, args)
    constants = floats(args, HYPERPARAMETERS, 3)
    rho, rest = block_of(dtype, constants[0]), block_of(dtype, constants[1])
    rates, kept, epsilon = (
        block_of(dtype, rate),
        block_of(dtype, keep),
        block_of(dtype, constants[2]),
    )
    begin, end = partition(size, LANES, thread, threads)
    for i in range(begin, end, block_size(dtype)):
        left = end - i
        g = load(dtype, gradients, i, left)
        square = rho * load(dtype, squares, i, left) + rest * g * g
        store(square, squares, i, left)
        change = quotient(rates * g, root_of(square) + epsilon)
        store(kept * load(dtype, values, i, left) - change, values, i, left)


@kernel
def adam(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Adam, with its two bias corrections as factors of the learning rate and of epsilon.

    rate * (mean / c1) / (sqrt(square / c2) + epsilon) = (rate * sqrt(c2) / c1) * mean /
    (sqrt(square) + epsilon * sqrt(c2)).
    """
    values, gradients, means, squares, size = integers(args, 0, 5)
    learning_rate, keep = thread_rates(dtype, args)
    decay1, weight1, decay2, weight2, epsilon_argument, log_beta1, log_beta2, is_hat = floats(
        args, HYPERPARAMETERS, 8
    )
    (step_ptr,) = integers(args, 6, 1)
    step = float(scalar(args, step_ptr))
    c1, c2 = -expm1(step * log_beta1), -expm1(step * log_beta2)
    rate = block_of(dtype, float(learning_rate) * math.sqrt(c2) / c1)
    epsilon = block_of(dtype, epsilon_argument * (1.0 if is_hat != 0 else math.sqrt(c2)))
    beta1, rest1 = block_of(dtype, decay1), block_of(dtype, weight1)
    beta2, rest2, kept = block_of(dtype, decay2), block_of(dtype, weight2), block_of(dtype, keep)
    begin, end = partition(size, LANES, thread, threads)
    for i in range(begin, end, block_size(dtype)):
        left = end - i
        g = load(dtype, gradients, i, left)
        mean = beta1 * load(dtype, means, i, left) + rest1 * g
        square = beta2 * load(dtype, squares, i, left) + rest2 * g * g
        store(mean, means, i, left)
        store(square, squares, i, left)
        change = quotient(rate * mean, root_of(square) + epsilon)
        store(kept * load(dtype, values, i, left) - change, values, i, left)


@kernel
def lion(dtype: Any, args: Any, thread: int, threads: int) -> None:
    values, g, mean, _, rate, keep = thread_slices(dtype, args, thread, threads)
    constants = floats(args, HYPERPARAMETERS, 4)
    T = values.dtype.type
    beta1, rest1, beta2, rest2 = T(constants[0]), T(constants[1]), T(constants[2]), T(constants[3])
    for i in range(values.size):
        values[i] = keep * values[i] - rate * np.sign(beta1 * mean[i] + rest1 * g[i])
        mean[i] = beta2 * mean[i] + rest2 * g[i]


@kernel
def squares(dtype: Any, args: Any, thread: int, threads: int) -> None:
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
    sums = vector(args, sums_ptr, threads).view(np.float64)
    total = 0.0
    for other in range(threads):
        total += sums[other]
    return total


@kernel
def l2_penalty(dtype: Any, args: Any, thread: int, threads: int) -> None:
    values_ptr, gradients_ptr, size, sums_ptr, weight_ptr, loss_sum_ptr = integers(args, 0, 6)
    (strength,) = floats(args, 6, 1)
    begin, end = partition(size, LANES, thread, threads)
    values = slice_of(dtype, values_ptr, size, begin, end)
    gradients = slice_of(dtype, gradients_ptr, size, begin, end)
    weight = float(scalar(dtype, weight_ptr))
    T = values.dtype.type
    if weight > 0:
        if thread == 0:
            total = sum_of_squares(args, sums_ptr, threads)
            vector(dtype, loss_sum_ptr, 1)[0] += T(0.5 * strength * total)
        factor = T(strength / weight)
        for i in range(end - begin):
            gradients[i] += factor * values[i]


@kernel
def clip(dtype: Any, args: Any, thread: int, threads: int) -> None:
    g_ptr, size, sums_ptr = integers(args, 0, 3)
    (max_norm,) = floats(args, 3, 1)
    norm = math.sqrt(sum_of_squares(args, sums_ptr, threads))
    if norm > max_norm:  # false for NaN, which would remain in the padding between parameters
        begin, end = partition(size, LANES, thread, threads)
        g = slice_of(dtype, g_ptr, size, begin, end)
        factor = g.dtype.type(max_norm / norm)
        for i in range(end - begin):
            g[i] *= factor
