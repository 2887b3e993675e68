"""Elementary functions for float32 and float64, as formulas without branches and calls.

So LLVM can vectorize the formulas, and no result depends on the C library. Maximum errors are in
units in the last place of the result (ulp). The measurements include all float32 numbers, some
millions of float64, and subnormal results, unless the thread treats these as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from gpunn.activations import TAILS
from gpunn.backends.numpy.compiled.kernels.arithmetic import (
    Number,
    constant,
    fma,
    formula,
    polynomial,
    rint,
    where,
)
from gpunn.backends.numpy.compiled.kernels.blocks import lane_numbers
from gpunn.backends.numpy.compiled.kernels.vectors import TARGET, declared


def without_log_2(x: Number) -> tuple[Number, Number]:
    """Return r and an integer n with x = n log 2 + r and about |r| <= log(2) / 2."""
    n = rint(x * (1 / math.log(2)))
    high, low = log_2_in_parts(x)
    return fma(-n, low, fma(-n, high, x)), n


def log_2_in_parts(x: Number) -> tuple[float, float]:
    """Return two numbers whose sum is log 2; multiplying the first by an exponent n is exact."""
    if x.single:
        return 0.693359375, -2.12194440054690583e-4
    return 0.693147180369123816490, 1.90821492927058770002e-10


def small_expm1(r: Number) -> Number:
    """Return exp(r) - 1 for |r| <= log(2) / 2, from Taylor's series."""
    factorials = [1 / math.factorial(k) for k in range(7 if r.single else 13, 1, -1)]
    return fma(r * r, polynomial(r, factorials), r)


def scaled_expm1(r: Number, n: Number) -> Number:
    """Return 2^n exp(r) - 1 = 2^n (exp(r) - 1) + (2^n - 1)."""
    power = n.power_of_two()
    return fma(power, small_expm1(r), power - 1)


def at_least(lower: float, x: Number) -> Number:
    """Return max(x, lower), or NaN if x is NaN."""
    return where(x < lower, lower, x)


def within(x: Number, lower: float, upper: float) -> Number:
    """Return x clipped to two limits, or NaN if x is NaN."""
    return at_least(lower, where(x > upper, upper, x))


@formula
def exp(x: Number) -> Number:
    """Return e^x. The largest error is 1.06 ulp in float32, 1.0 ulp in float64."""
    r, n = without_log_2(within(x, *((-104, 89) if x.single else (-746, 710))))
    return (small_expm1(r) + 1).times_power_of_two(n)


@formula
def negative_exp(x: Number) -> Number:
    """Return e^x for x <= 0, or 0 if e^x is subnormal; faster than `exp`."""
    # For this lower bound, all bits of 2^n are 0.
    r, n = without_log_2(at_least(-x.bias * math.log(2), x))
    power = n.power_of_two()
    return fma(power, small_expm1(r), power)


@formula
def expm1(x: Number) -> Number:
    """Return e^x - 1. The largest error is 1.65 ulp in float32, 1.8 ulp in float64."""
    r, n = without_log_2(within(x, *((-30, 89) if x.single else (-60, 710))))
    # For the largest x, 2^n overflows, but the result does not.
    largest = n > x.bias
    result = scaled_expm1(r, where(largest, n - 1, n))
    return where(largest, 2 * result, result)


def negative_expm1(x: Number) -> Number:
    """Return e^x - 1 for x <= 0, faster than `expm1`."""
    r, n = without_log_2(at_least(-30 if x.single else -60, x))
    return scaled_expm1(r, n)


@formula
def tanh(x: Number) -> Number:
    """Return tanh(x) = -m / (m + 2) for x >= 0, with m = e^(-2 x) - 1; errors up to 2.5 ulp."""
    m = negative_expm1(-2 * abs(x))
    return (m / (m + 2)).with_sign_of(x)


@formula
def sigmoid(x: Number) -> Number:
    """Return 1 / (1 + e^-x), or 0 if this number is subnormal.

    The largest error is 2.41 ulp in float32, 2.4 ulp in float64.
    """
    e = negative_exp(-abs(x))
    return where(x < 0, e, 1) / (1 + e)


def normal_tail(z: Number) -> tuple[Number, Number]:
    """Return e^(-z^2 / 2) and Phi(-|z|), like `gpunn.activations.normal_tail`."""
    x = abs(z)
    x = where(x > 40, 40, x)
    inverse = 1 / (x + 4)
    scaled = inverse * polynomial((x - 4) * inverse, TAILS["float32" if x.single else "float64"])
    square = x * x
    decay = negative_exp(-0.5 * square)
    # Correct for the rounding error of the square.
    decay = fma(-0.5 * fma(x, x, -square), decay, decay)
    return decay, decay * scaled


@formula
def normal_cdf(z: Number) -> Number:
    """Return Phi(z), or 0 if Phi(z) is subnormal; errors up to 5.6 ulp (float32), 6.5 (float64)."""
    _decay, tail = normal_tail(z)
    return where(z < 0, tail, 1 - tail)


def log_of_product(n: Number, f: Number) -> Number:
    """Return n log 2 + log(1 + f) for sqrt(1/2) <= 1 + f <= sqrt(2).

    With s = f / (2 + f), log(1 + f) = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ...). The operations
    and their order are the same as in fdlibm (Sun Microsystems 1993, e_log.c).
    """
    s = f / (2 + f)
    square = s * s
    series = [2 / (2 * k + 1) for k in range(5 if f.single else 11, 0, -1)]
    rest = square * polynomial(square, series)
    half = 0.5 * f * f
    high, low = log_2_in_parts(f)
    return fma(n, high, f - (half - fma(s, half + rest, n * low)))


@formula
def log(x: Number) -> Number:
    """Return log(x). The largest error is 0.84 ulp in float32, 0.8 ulp in float64."""
    smallest = 2.0 ** (1 - x.bias)
    more = x.fraction_bits + 1
    subnormal = x < smallest
    m, n = where(subnormal, x * 2.0**more, x).split()
    result = log_of_product(where(subnormal, n - more, n), m - 1)
    result = where(x < math.inf, result, x)  # keep NaN and infinity
    result = where(x.equals(0), -math.inf, result)
    return where(x < 0, math.nan, result)


@formula
def log1p(x: Number) -> Number:
    """Return log(1 + x). The largest error is 1.5 ulp in float32, 1.5 ulp in float64."""
    u = 1 + x
    m, n = u.split()
    lost = where(x < 1, x - (u - 1), 1 - (u - x))
    result = log_of_product(n, m - 1) + lost / u
    result = where(x < math.inf, result, x)
    result = where(x.equals(-1), -math.inf, result)
    return where(x < -1, math.nan, result)


@formula
def softplus(x: Number) -> Number:
    """Return log(1 + exp(x)) = max(x, 0) + log(1 + t); t is exp(-|x|), or 0 if that is subnormal.

    With s = t / (2 + t), log(1 + t) = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ...). The term 2 s is
    computed as t - s t. The largest error is 1.9 ulp in float32 and in float64.
    """
    t = negative_exp(-abs(x))
    s = t / (2 + t)
    square = s * s
    series = [2 / (2 * k + 1) for k in range(6 if x.single else 15, 0, -1)]
    return where(x > 0, x, 0) + fma(-s, fma(-square, polynomial(square, series), t), t)


def sin_within_quarter(v: Number) -> Number:
    """Return sin(2 pi v) for |v| <= 1/4, from Taylor's series."""
    series = [
        (-1) ** k * (2 * math.pi) ** (2 * k + 1) / math.factorial(2 * k + 1)
        for k in range(6 if v.single else 10, 0, -1)
    ]
    square = v * v
    return fma(v, 2 * math.pi, v * (square * polynomial(square, series)))


@formula
def cos_of_turns(t: Number) -> Number:
    """Return cos(2 pi t). The largest error is 2.9 ulp in float32, 2.4 ulp in float64."""
    return sin_within_quarter(0.25 - abs(t - rint(t)))


@formula
def sin_of_turns(t: Number) -> Number:
    """Return sin(2 pi t). The largest error is 2.9 ulp in float32, 2.4 ulp in float64."""
    turn = t - rint(t)
    mirrored = t.like(0.5).with_sign_of(turn) - turn
    return sin_within_quarter(where(abs(turn) > 0.25, mirrored, turn))


# With AVX-512, one unit divides eight float64 in 16 cycles and computes eight square roots in 24.
# So this function computes quotients of float64 by multiplications. For float32, `root` computes
# half of the square roots by multiplications instead.
def divided(n: Number, d: Number) -> Number:
    """Return n / d, rounded as IEEE 754 requires, for code that also calls `root`."""
    return divided_by_products(n, d) if TARGET.name == "x86-64-v4" and not n.single else n / d


def divided_by_products(n: Number, d: Number) -> Number:
    """Return n / d for float64, correctly rounded, computed by multiplications.

    See P. Markstein 1990, "Computation of elementary functions on the IBM RISC System/6000
    processor", and Muller et al. 2018, "Handbook of Floating-Point Arithmetic", section 4.7.
    """
    # Newton's steps compute y = 1 / d. Then q = n y is corrected by the steps q + (n - d q) y.
    # If y is off by less than an ulp, the last step rounds 1 / d correctly, unless d's fraction is
    # all ones. If y is 1 / d rounded, and q is off by less than an ulp, the last correction rounds
    # n / d correctly. If the fraction of any d is all ones, or any n - d q may underflow, the
    # processor's instruction divides the block. The same holds if any quotient is infinite, NaN, or
    # tiny with n != 0.
    builder = n.builder
    y = joined(*(estimated("rcp14.pd", half) for half in halves(d)))
    for _ in range(2):
        y = fma(fma(-d, y, 1), y, y)
    q = n * y
    y = fma(fma(-d, y, 1), y, y)
    for _ in range(2):
        q = fma(fma(-d, q, n), y, q)
    # If the fraction of d is all ones, the next larger number's fraction is all zeros.
    integers = ir.VectorType(ir.IntType(n.bits), d.kind.count)
    after = builder.add(builder.bitcast(d.value, integers), constant(integers, 1))
    fraction = builder.and_(after, constant(integers, (1 << d.fraction_bits) - 1))
    has_zero = builder.icmp_unsigned("!=", fraction, constant(integers, 0))
    large = builder.and_(abs(n) >= 2.0**-900, abs(q) >= 2.0**-900)
    # For n = -0, a correction would add up to +0.
    is_zero = builder.icmp_unsigned("==", builder.bitcast(n.value, integers), constant(integers, 0))
    safe = builder.or_(builder.and_(has_zero, large), builder.and_(is_zero, q.equals(0)))
    return if_safe(safe, q, lambda: n / d)


def root(x: Number) -> Number:
    """Return the square root of x, rounded as IEEE 754 requires.

    This function is for code that also divides.
    """
    # With AVX-512, one unit computes all float32 roots and quotients, while other units wait. So
    # half of a block uses Goldschmidt's step for g = sqrt(x) and h = 1 / (2 g). Then the result
    # g + (x - g^2) h is rounded correctly: a test compares all fractions. Both halves use the
    # processor's square root if x - g^2 may underflow, or x is negative, infinite or NaN.
    if TARGET.name != "x86-64-v4" or not x.single:
        return x.call("sqrt")
    first, second = halves(x)
    y = estimated("rsqrt14.ps", first)
    is_zero = first.equals(0)
    y = where(is_zero, 1.0, y)  # else x * y would be NaN
    g, h = first * y, 0.5 * y
    r = fma(-g, h, 0.5)
    g, h = fma(g, r, g), fma(h, r, h)
    g = fma(fma(-g, g, first), h, g)
    normal = x.builder.and_(first >= 2.0**-76, first < math.inf)
    safe = x.builder.or_(normal, is_zero)
    return joined(if_safe(safe, g, lambda: first.call("sqrt")), second.call("sqrt"))


def if_safe(safe: Any, fast: Number, exact: Callable[[], Number]) -> Number:
    builder, lanes = fast.builder, ir.IntType(fast.kind.count)
    start, all_safe = builder.block, builder.bitcast(safe, lanes)
    with builder.if_then(builder.icmp_unsigned("!=", all_safe, lanes(-1)), likely=False):
        other, otherwise = exact(), builder.block
    result = builder.phi(fast.kind)
    result.add_incoming(fast.value, start)
    result.add_incoming(other.value, otherwise)
    return Number(builder, result)


def estimated(name: str, x: Number) -> Number:
    """Return AVX-512's estimate `name` (1 / x or 1 / sqrt(x)), with a relative error <= 2^-14."""
    mask = ir.IntType(x.kind.count)
    kinds = [x.kind, x.kind, mask]
    function = declared(x.builder.module, f"llvm.x86.avx512.{name}.512", x.kind, kinds)
    return Number(x.builder, x.builder.call(function, [x.value, x.value, mask(-1)]))


def halves(x: Number) -> list[Number]:
    lanes = x.kind.count // 2
    return [
        Number(x.builder, x.builder.shuffle_vector(x.value, x.value, lane_numbers(lanes, first)))
        for first in (0, lanes)
    ]


def joined(first: Number, second: Number) -> Number:
    lanes = lane_numbers(2 * first.kind.count)
    return Number(first.builder, first.builder.shuffle_vector(first.value, second.value, lanes))
