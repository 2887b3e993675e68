"""Optimizers that divide by square roots round both as IEEE 754 requires.

With squared gradients of 0, RMSprop changes a parameter by rate * gradient / epsilon.
"""

import numpy as np
import pytest
from instructions import instructions_of

pytest.importorskip("numba")

from gpunn.backends.numpy.compiled.program import Instruction, Program
from gpunn.backends.numpy.subnormals import FLUSHED
from gpunn.backends.tracing import Write
from gpunn.expressions.graph import Graph

SIZE = 128


def quotients(g, d):
    """Return 2 g / d, computed by the kernel `rmsprop`."""
    values, squares = np.zeros(SIZE), np.zeros(SIZE)
    rate, step = np.full(1, 2.0), np.ones(1, np.int64)
    args = [values, g, squares, None, SIZE, rate, step, None, 1.0, 0.0, 1.0, 0.0, float(d)]
    Program([Instruction("rmsprop", args, [g, rate, step], [values, squares])], threads=1)(1)
    return -values


def expected(g, d):
    with FLUSHED, np.errstate(all="ignore"):
        return -(0.0 - 2.0 * g / (0.0 * g * g + d))


def hard_numerators(d, random):
    """Return numbers n, for an odd integer d of 53 bits, with n / d nearly between two numbers.

    With 2^54 n = d m - s for an odd m and a small s, n / d is s / d from m, in units of 2^-54.
    """
    inverse, found = pow(d, -1, 1 << 54), []
    for s in range(1, SIZE, 2):
        for signed in (s, -s):
            m = signed * inverse % (1 << 54)
            found.append(float(d * m - signed >> 54) * 2.0 ** random.integers(-60, 5))
    return np.array(found)


@pytest.mark.parametrize("exponent", [0, -980])  # with small numbers, remainders underflow
def test_quotients_between_two_numbers(exponent):
    random = np.random.default_rng(0)
    ones = [(1 << 53) - 1 - 2 * k for k in range(3)]
    for integer in [*ones, *(int(random.integers(1 << 52, 1 << 53)) | 1 for _ in range(300))]:
        n = hard_numerators(integer, random)
        n[:2] = 1.0, -0.5
        n, d = np.ldexp(n, exponent), np.ldexp(float(integer), exponent + random.integers(-80, 0))
        np.testing.assert_array_equal(quotients(n / 2, d), expected(n / 2, d), err_msg=str(integer))


@pytest.mark.parametrize("d", [2.0**e for e in (-1020, -500, 0, 500, 1020)] + [0.0, np.inf, np.nan])
def test_quotients_that_overflow_or_are_tiny(d):
    random = np.random.default_rng(1)
    g = np.ldexp(random.normal(size=SIZE), random.integers(-1074, 1022, SIZE))
    g[:5] = 0.0, np.inf, -np.inf, np.nan, np.finfo(float).max
    for each in (g, *(np.full(SIZE, one) for one in (g[9], 2.0**-1000, g[4], np.inf))):
        np.testing.assert_array_equal(quotients(each, d), expected(each, d))


def check_quotients(n, d):
    graph, quotient, by_sum = Graph(), np.empty_like(n), np.empty_like(n)
    a, b = graph.array(n, "float"), graph.array(d, "float")
    node = graph.call("divide", a, b)
    other = graph.call("divide", a, graph.call("add", b, a))
    for each in (Write(quotient, node), Write(by_sum, other)):
        Program(instructions_of([each], n.dtype, 1), 1)(1)
    with FLUSHED, np.errstate(all="ignore"):
        for actual, expected in ((quotient, n / d), (by_sum, n / (d + n))):
            np.testing.assert_array_equal(actual, expected)
            signs = np.where(np.isnan(expected), False, np.signbit([actual, expected]))
            np.testing.assert_array_equal(*signs)


def test_inverses_of_all_fractions():
    d = np.arange(0x3F800000, 0x40000000, dtype=np.uint32).view(np.float32)
    check_quotients(np.ones_like(d), d)
    check_quotients(np.roll(d, 5), np.roll(d, 16))  # half of a block is divided in another way


def test_quotients_of_float32_between_two_numbers():
    """With 2^25 n = d m - s for an odd m and a small s, n / d is nearly between two numbers."""
    random, n, d = np.random.default_rng(3), [], []
    ones = [(1 << 24) - 1 - 2 * k for k in range(3)]
    for integer in [*ones, *(int(random.integers(1 << 23, 1 << 24)) | 1 for _ in range(2000))]:
        inverse = pow(integer, -1, 1 << 25)
        for s in (1, -1, 3, -3, 5, -5, 7, -7):
            n.append(integer * (s * inverse % (1 << 25)) - s >> 25)
            d.append(integer)
    exponents = random.integers(-60, 5, len(n))
    n = np.ldexp(np.array(n, np.float32), exponents)
    d = np.ldexp(np.array(d, np.float32), random.integers(-40, 40, len(n)))
    for shift in (0, 16):
        check_quotients(np.roll(n, shift), np.roll(d, shift))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quotients_of_special_numbers(dtype):
    random, info = np.random.default_rng(4), np.finfo(dtype)
    special = [0.0, -0.0, info.smallest_subnormal, info.tiny, -info.tiny, info.max, -info.max, 1.0]
    special = np.array([*special, 2.0**-75, 2.0**126, np.inf, -np.inf, np.nan], dtype)
    largest = int(np.log2(info.max)) - 1
    exponents = random.integers(-largest, largest, (2, 8192))
    n, d = np.ldexp(random.normal(size=(2, 8192)), exponents).astype(dtype)
    check_quotients(n, d)
    for one in special:
        n[::97] = one
        check_quotients(np.append(n, np.full(512, one)), np.append(d, n[:512]))
    pairs = np.repeat(special, 40 * len(special)), np.tile(np.repeat(special, 40), len(special))
    check_quotients(*pairs)  # such as gradients of 0
    check_quotients(np.append(special, n), np.append(special[::-1], np.sqrt(np.sqrt(abs(d)))))


def check_roots(x):
    graph, root, by_root = Graph(), np.empty_like(x), np.empty_like(x)
    a = graph.array(x, "float")
    node = graph.call("sqrt", a)
    quotient = graph.call("divide", a, graph.call("add", graph.call("sqrt", a), a))
    writes = [Write(root, node), Write(by_root, quotient)]
    for each in writes:
        Program(instructions_of([each], x.dtype, 1), 1)(1)
    with FLUSHED, np.errstate(all="ignore"):
        expected = np.sqrt(x)
        np.testing.assert_array_equal(root, expected)
        np.testing.assert_array_equal(np.signbit(root), np.signbit(expected))
        np.testing.assert_array_equal(by_root, x / (expected + x))


def test_square_roots_of_all_fractions():
    x = np.arange(0x3F800000, 0x40800000, dtype=np.uint32).view(np.float32)
    check_roots(x)
    check_roots(np.roll(x, 16))  # the halves of a block are computed in different ways


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_square_roots_of_special_numbers(dtype):
    random, info = np.random.default_rng(2), np.finfo(dtype)
    special = [0.0, -0.0, info.smallest_subnormal, -info.smallest_subnormal, info.tiny, info.max]
    special = np.array([*special, np.inf, -np.inf, np.nan, -1.0], dtype)
    ordinary = np.ldexp(random.random(4096), random.integers(-140, 120, 4096)).astype(dtype)
    check_roots(ordinary)
    for number in special:  # alone, in blocks of ordinary numbers
        x = abs(random.normal(size=4096)).astype(dtype)
        x[::97] = number
        check_roots(x)
        check_roots(np.full(100, number, dtype))
