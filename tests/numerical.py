"""Derivatives by finite differences."""

from collections.abc import Callable

import numpy as np

STEP = 1e-5
TOLERANCE = 1e-7
"""Relative to the largest derivative, or absolute below 1. The error of a central difference is
about step^2 / 6 times the third derivative, 1e-10 here, and eps / step times the value, 1e-10 for
values up to some 10; three digits more leave room for sums of many terms."""


def gradient(function: Callable[[], float], x: np.ndarray, step: float = STEP) -> np.ndarray:
    """Return the central differences of `function()` for every entry of x, which it reads."""
    result = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + step
        above = function()
        x[index] = kept - step
        below = function()
        x[index] = kept
        result[index] = (above - below) / (2 * step)
    return result


def assert_same(found: np.ndarray, expected: np.ndarray, message: str = "") -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, 0, TOLERANCE * scale, err_msg=message)


def assert_gradient(
    found: np.ndarray, function: Callable[[], float], x: np.ndarray, message: str = ""
) -> None:
    """Assert that an array is the gradient of `function()` for x, which the function reads.

    A wrong entry changes the derivative along any random direction. If one differs, all entries are
    compared, which takes two calls for each.
    """
    random, kept, scale = np.random.default_rng(3), x.copy(), max(1.0, np.abs(found).max(initial=0))
    for _ in range(2):
        direction = random.standard_normal(x.shape)
        values = []
        for step in (STEP, -STEP):
            x[...] = kept + step * direction
            values.append(function())
        x[...] = kept
        slope = (values[0] - values[1]) / (2 * STEP)
        if not abs(slope - (found * direction).sum()) <= TOLERANCE * scale:
            assert_same(found, gradient(function, x), message)
