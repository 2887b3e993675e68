"""The built-in activations and their gradients.

Each activation has formulas for its value and its derivative. The derivative is a function of z or
of a = f(z), as in `gpunn.activations`, which has the mathematics. The formulas in this module need
as few exponentials and divisions as possible, often one of each. A kernel's argument `activation`
is an index in `interface.ACTIVATIONS`; an activation has up to two parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from gpunn.activations import GELU, ExactGELU
from gpunn.backends.numpy.compiled.interface import ACTIVATIONS
from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, fma, where
from gpunn.backends.numpy.compiled.kernels.blocks import (
    ROWS,
    block_of,
    block_size,
    load,
    multiply_add,
    store,
)
from gpunn.backends.numpy.compiled.kernels.kernel import kernel, thread_part
from gpunn.backends.numpy.compiled.kernels.lanewise import one_of
from gpunn.backends.numpy.compiled.kernels.mathematics import (
    log1p,
    negative_exp,
    negative_expm1,
    normal_cdf,
    normal_tail,
    sigmoid,
    tanh,
)
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers

Formula: TypeAlias = Callable[[Number, Number, Number], Number]
"""A function of z (or of a = f(z)) and two parameters."""


def sigmoid_and_derivative(z: Number) -> tuple[Number, Number]:
    """Return s = 1 / (1 + e^-z) and s (1 - s)."""
    e = negative_exp(-abs(z))
    larger = 1 / (1 + e)
    smaller = e * larger
    return where(z < 0, smaller, larger), smaller * larger


def elu(z: Number, alpha: Number, scale: Number) -> Number:
    return scale * where(z > 0, z, alpha * negative_expm1(z))


def elu_derivative(a: Number, alpha: Number, scale: Number) -> Number:
    return where(a > 0, scale, a + scale * alpha)


def gelu(z: Number, *_: Number) -> Number:
    """Return z * (1 + tanh(u)) / 2 = z * sigmoid(2 * u).

    u = GELU.root * z * (1 + GELU.cubic * z^2).
    """
    return z * sigmoid(2 * GELU.root * z * fma(GELU.cubic * z, z, 1))


def gelu_derivative(z: Number, *_: Number) -> Number:
    """Return s + z * s', where s = sigmoid(2 * u), with u as in `gelu`.

    s' = 2 * GELU.root * (1 + 3 * GELU.cubic * z^2) * s * (1 - s).
    """
    s, slope = sigmoid_and_derivative(2 * GELU.root * z * fma(GELU.cubic * z, z, 1))
    # Multiplied from the left, since z^2 may be infinite when the slope is 0.
    slope = 2 * GELU.root * z * slope
    return s + fma(3 * GELU.cubic * z, slope * z, slope)


def exact_gelu_derivative(z: Number, *_: Number) -> Number:
    """Return Phi(z) + z phi(z), where phi is the standard normal density."""
    decay, tail = normal_tail(z)
    return fma(ExactGELU.density * z, decay, where(z < 0, tail, 1 - tail))


def silu_derivative(z: Number, *_: Number) -> Number:
    s, slope = sigmoid_and_derivative(z)
    return fma(z, slope, s)


def mish_parts(z: Number) -> tuple[Number, Number, Number, Number]:
    """Return n, d, p and q: tanh(softplus(z)) is n / d, and the derivative is 4 p q / d^2.

    With y = 1 + e^z, tanh(softplus(z)) = (y^2 - 1) / (y^2 + 1). The derivative with respect to z is
    4 e^z y / (y^2 + 1)^2. For z > 0, numerator and denominator are multiplied by a power of e^-z.
    """
    e = negative_exp(-abs(z))
    below = z < 0
    squared = e * e
    n = fma(e, 2, where(below, squared, 1))
    d = n + 2 * where(below, 1, squared)
    return n, d, where(below, e, squared), 1 + e


def mish(z: Number, *_: Number) -> Number:
    n, d, _power, _y = mish_parts(z)
    return z * (n / d)


def mish_derivative(z: Number, *_: Number) -> Number:
    """Return t + z t', with t = tanh(log(1 + e^z))."""
    n, d, power, y = mish_parts(z)
    inverse = 1 / d
    return fma(z, 4 * power * y * inverse * inverse, n * inverse)


def softplus(z: Number, *_: Number) -> Number:
    """Return log(1 + e^z) = max(z, 0) + log(1 + e^-|z|)."""
    # `mathematics.softplus` takes half the time, but would change the bits of trained networks.
    return where(z > 0, z, 0) + log1p(negative_exp(-abs(z)))


VALUES: Mapping[str, Formula] = {
    "relu": lambda z, *_: where(z < 0, 0, z),
    "leaky_relu": lambda z, slope, _: where(z > 0, z, slope * z),
    "elu": elu,
    "gelu": gelu,
    "exact_gelu": lambda z, *_: z * normal_cdf(z),
    "silu": lambda z, *_: z * sigmoid(z),
    "mish": mish,
    "sigmoid": lambda z, *_: sigmoid(z),
    "tanh": lambda z, *_: tanh(z),
    "softplus": softplus,
}
"""The activations' values, as formulas of z."""

DERIVATIVES: Mapping[str, Formula] = {
    "relu": lambda a, *_: where(a > 0, a.like(1), 0),
    "leaky_relu": lambda a, slope, _: where(a > 0, 1, slope),
    "elu": elu_derivative,
    "gelu": gelu_derivative,
    "exact_gelu": exact_gelu_derivative,
    "silu": silu_derivative,
    "mish": mish_derivative,
    "sigmoid": lambda a, *_: a * (1 - a),
    "tanh": lambda a, *_: 1 - a * a,
    "softplus": lambda a, *_: -negative_expm1(-a),
}
"""The activations' derivatives: formulas of the output a if `from_output`, else of the input z."""


def by_index(formulas: Mapping[str, Formula]) -> Any:
    return one_of([lambda *z, name=name: [formulas[name](*z)] for name in ACTIVATIONS], 1)


SMALL = 1 << 13
"""A thread's part of a gradient stays in the L1 cache if it has at most this many elements. The
kernel then reads it column by column, so that the sum of a column stays in a register."""

RELU = ACTIVATIONS.index("relu")

value_of, derivative_of = by_index(VALUES), by_index(DERIVATIVES)


@kernel
def activate(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set z = z + bias, and out = f(z); with an array alpha, out = z + alpha * (f(z) - z)."""
    activation, z, bias, out, rows, columns, multiple = integers(args, 0, 7)
    parameters, (alpha,) = floats(args, 7, 2), integers(args, 9, 1)
    first, second = block_of(dtype, parameters[0]), block_of(dtype, parameters[1])
    lanes = block_size(dtype)
    first_row, last_row, begin, end = thread_part(rows, columns, multiple, thread, threads)
    for row in range(first_row, last_row):
        for column in range(begin, end, lanes):
            at, left = row * columns + column, end - column
            value = load(dtype, z, at, left)
            if bias != 0:
                value = value + load(dtype, bias, column, left)
                store(value, z, at, left)
            result = value_of(activation, value, first, second)[0]
            if alpha != 0:
                result = multiply_add(load(dtype, alpha, column, left), result - value, value)
            store(result, out, at, left)


@kernel
def activation_gradient(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Multiply gradient by f', and set bias_gradient to the sum of the products over the rows.

    With an array alpha, multiply gradient by 1 + alpha * (f' - 1) instead. Then bias_gradient is
    the gradient of alpha: the sum of (gradient before the multiplication) * (f(z) - z).
    """
    activation, source, gradient, bias_gradient, rows, columns, multiple = integers(args, 0, 7)
    parameters, (alpha, from_output) = floats(args, 7, 2), integers(args, 9, 2)
    first, second = block_of(dtype, parameters[0]), block_of(dtype, parameters[1])
    lanes, one = block_size(dtype), block_of(dtype, 1)
    first_row, last_row, begin, end = thread_part(rows, columns, multiple, thread, threads)
    sums = thread * columns if multiple < 0 else 0
    together = max(rows, ROWS) if rows * (end - begin) <= SMALL else ROWS
    for top in range(first_row, last_row, together):
        bottom = min(top + together, last_row)
        for column in range(begin, end, lanes):
            left = end - column
            total = block_of(dtype, 0)
            if bias_gradient != 0 and top > first_row:
                total = load(dtype, bias_gradient, sums + column, left)
            is_relu = activation == RELU and alpha == 0
            if is_relu:  # a shorter loop, because the formula is known
                for row in range(top, bottom):
                    at = row * columns + column
                    slope = derivative_of(RELU, load(dtype, source, at, left), first, second)[0]
                    changed = load(dtype, gradient, at, left) * slope
                    store(changed, gradient, at, left)
                    total = total + changed
            for row in range(bottom if is_relu else top, bottom):
                at = row * columns + column
                z, incoming = load(dtype, source, at, left), load(dtype, gradient, at, left)
                written_in = z
                if alpha != 0:
                    value = value_of(activation, z, first, second)[0]
                    total = multiply_add(incoming, value - z, total)
                    if from_output:
                        written_in = value
                slope = derivative_of(activation, written_in, first, second)[0]
                if alpha != 0:
                    slope = multiply_add(load(dtype, alpha, column, left), slope - one, one)
                # A product keeps NaN and infinity, as on other backends.
                changed = incoming * slope
                store(changed, gradient, at, left)
                if alpha == 0:
                    total = total + changed
            if bias_gradient != 0:
                store(total, bias_gradient, sums + column, left)
