"""Test that errors of the elementary functions are as small as their docstrings state."""

import functools
import math
from functools import partial

import numpy as np
import pytest

pytest.importorskip("numba")

import numba

from gpunn.backends.numpy.compiled.kernels import mathematics
from gpunn.backends.numpy.compiled.kernels.kernel import OPTIONS
from gpunn.backends.numpy.subnormals import FLUSHED, environment

ERRORS = {
    "exp": (1.06, 1.0),
    "expm1": (1.65, 1.8),
    "tanh": (2.5, 2.5),
    "sigmoid": (2.41, 2.4),
    "log": (0.84, 0.8),
    "log1p": (1.5, 1.5),
    "softplus": (1.9, 1.9),
    "normal_cdf": (5.6, 6.5),
    "cos_of_turns": (2.9, 2.4),
    "sin_of_turns": (2.9, 2.4),
}
"""Maximum errors in units in the last place, in float32 and float64."""

FLUSHING = {"sigmoid", "softplus", "normal_cdf"}
"""Functions that return 0 instead of subnormal numbers."""


@functools.cache
def loop(name):
    function = getattr(mathematics, name)

    def fill(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return numba.njit(**OPTIONS)(fill)


def computed(name, x):
    out = np.empty_like(x)
    loop(name)(x, out)
    return out


def exact(name, x):
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
        e = np.exp(-np.abs(wide))
        if name == "sigmoid":
            return np.where(wide < 0, e, 1) / (1 + e)
        if name == "softplus":
            return np.maximum(wide, 0) + np.log1p(e)
        if name == "normal_cdf":
            tail = normal_tail(np.abs(wide))
            return np.where(wide < 0, tail, 1 - tail)
        if name.endswith("turns"):
            return sine_or_cosine(name, wide)
        return getattr(np, name)(wide)


def normal_tail(x):
    """Return Phi(-x) from its Taylor series about 0, or Laplace's continued fraction."""
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.arctan2(x.dtype.type(0), x.dtype.type(-1)))
    near, far = np.minimum(x, 2), np.maximum(x, 2)
    term, total = near, near.copy()
    for k in range(3, 101, 2):
        term = term * near * near / k
        total += term
    fraction = far
    for k in range(200, 0, -1):
        fraction = far + k / fraction
    return np.where(x < 2, 0.5 - density * total, density / fraction)


def sine_or_cosine(name, turns):
    """Return the sine from an angle of at most a quarter turn, for small rounding errors."""
    rest = turns - np.rint(turns)
    mirrored = np.copysign(turns.dtype.type(0.5), rest) - rest
    sine_of = np.where(np.abs(rest) > 0.25, mirrored, rest)
    quarter = 0.25 - np.abs(rest) if name == "cos_of_turns" else sine_of
    # 2 pi as a float64 number and its rounding error.
    return np.sin(2 * np.pi * quarter + turns.dtype.type(2.4492935982947064e-16) * quarter)


def worst_error(name, x):
    found = errors(computed(name, x), exact(name, x), name in FLUSHING)
    return found.max(), x[found.argmax()]


def errors(got, want, flushed):
    """Return the errors in units in the last place, and 0 if both are NaN or the same infinity.

    If allowed, 0 instead of a subnormal number also has error 0.
    """
    kind = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        same = (got == want.astype(got.dtype)) | (np.isnan(got) & np.isnan(want))
        same |= flushed & (got == 0) & (np.abs(want) < kind.smallest_normal)
        exponents = np.maximum(np.frexp(want)[1] - 1, kind.minexp) - kind.nmant
        distance = np.abs(got.astype(want.dtype) - want) / np.ldexp(want.dtype.type(1), exponents)
    return np.where(same, 0, distance)


def edges(dtype):
    """Return limits of ranges, and the adjacent numbers, with both signs."""
    kind = np.finfo(dtype)
    limits = [0, kind.smallest_subnormal, kind.smallest_normal, kind.eps, kind.max, np.inf, np.nan]
    limits += [math.log(kind.max), -math.log(kind.smallest_normal), -math.log(kind.eps)]
    limits += [-math.log(float(kind.smallest_normal)) + kind.nmant * math.log(2)]
    limits += [1, 2, math.sqrt(0.5), math.sqrt(2), *(math.log(2) * n / 2 for n in range(1, 6))]
    numbers = np.array(limits, dtype)
    with np.errstate(all="ignore"):
        near = [np.nextafter(numbers, dtype(to)) for to in (-np.inf, np.inf)]
    return np.concatenate([sign * each for each in (numbers, *near) for sign in (1, -1)])


@pytest.mark.parametrize("name", ERRORS)
def test_float32_over_its_whole_range(name):
    x = np.arange(0, 1 << 32, 65_539, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([edges(np.float32), x])
    worst, at = worst_error(name, x)
    assert worst <= ERRORS[name][0], at


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="there is no wider type here")
@pytest.mark.parametrize("name", ERRORS)
def test_float64_at_random_and_at_the_edges(name):
    random = np.random.default_rng(0)
    some = partial(random.uniform, size=6_000)
    bits = random.integers(0, 1 << 64, 6_000, dtype=np.uint64).view(np.float64)
    near = np.exp(some(-40, 3))
    x = np.concatenate([edges(np.float64), bits, some(-1, 1), some(-750, 712), near, -near])
    worst, at = worst_error(name, x)
    assert worst <= ERRORS[name][1], at


@pytest.mark.skipif(environment() is None, reason="the flags can't be set here")
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_subnormal_numbers_are_zero_others_are_the_same(name, dtype):
    x = np.concatenate([edges(dtype), np.linspace(-760, 760, 10_001, dtype=dtype)])
    smallest = np.finfo(dtype).smallest_normal
    x = x[~(np.abs(x) < smallest) | (x == 0)]
    before = computed(name, x)
    with FLUSHED:
        after = computed(name, x)
    np.testing.assert_array_equal(after, np.where(np.abs(before) < smallest, 0, before))
