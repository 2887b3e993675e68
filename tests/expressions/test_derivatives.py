"""Test derivatives of graphs against central differences."""

import numpy as np
import pytest
from functions import FUNCTIONS, gradient_of

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(0, 2, (4, 3))


def differences(function, arrays, h=1e-5):
    """Return the central differences of the sum of the results."""
    found = []
    for array in arrays:
        slopes = np.empty_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + h
            above = np.sum(function(np, *arrays))
            array[index] = kept - h
            below = np.sum(function(np, *arrays))
            array[index] = kept
            slopes[index] = (above - below) / (2 * h)
        found.append(slopes)
    return found


def check(function, *arrays):
    computed = gradient_of(function, [array.shape for array in arrays])(np, *arrays)
    for actual, expected in zip(computed, differences(function, arrays), strict=True):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=2e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_equal_central_differences(name):
    weights = np.linspace(-1, 1, X.size).reshape(X.shape)  # some functions sum to a constant
    check(lambda xp, x, w: w * FUNCTIONS[name](xp, x), X.copy(), weights)


B, C, S = RANDOM.normal(size=3), RANDOM.normal(size=(4, 1)), np.array([0.7])


@pytest.mark.parametrize(
    "function",
    [
        lambda xp, x, b, c, s: (x * b + c) * s,
        lambda xp, x, b, c, s: xp.sum(x * s, axis=0) * b,
        lambda xp, x, b, c, s: xp.sum(x * x) * b + s * c,
        lambda xp, x, b, c, s: xp.mean(b * c) + xp.mean(x, axis=1) * s,
        lambda xp, x, b, c, s: xp.broadcast_to(b, x.shape)[:, 1:] * x[:, :2] * c,
        lambda xp, x, b, c, s: xp.reshape(xp.reshape(x, (2, 6)) ** 2, (4, 3)) * b + c * s,
        lambda xp, x, b, c, s: x[:, :1] * x[:, 1:2] * (x[:, 2:] + x[:, :2]) * s + c,
        lambda xp, x, b, c, s: x[:, 1:][:, :1] * (x[:, 1:] + c) + s,
        lambda xp, x, b, c, s: x[:, 0] * x[:, -1] + xp.sum(x[:, 1:] * c, axis=1) * s,
        lambda xp, x, b, c, s: (x[:, :, None] * b[None, None, :])[:, :, :] * s + c[:, :, None],
        lambda xp, x, b, c, s: (
            xp.max(x * b, axis=1) + xp.min(x + c, axis=1, keepdims=True)[:, 0] * s
        ),
        lambda xp, x, b, c, s: xp.where(c > 0, x, b * s),
        lambda xp, x, b, c, s: s / (1 + xp.exp(-c)) + b - xp.floor(x),
    ],
    ids=str,
)
def test_broadcast_axes_are_summed(function):
    check(function, X.copy(), B.copy(), C.copy(), S.copy())


def slope(function, x, dtype="float64"):
    x = np.array([x], dtype)
    return gradient_of(function, [x.shape], dtype)(np, x)[0].tolist()[0]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda xp, x: xp.maximum(x, 0.0), 0.0),  # a constant has the slope 0
        (lambda xp, x: xp.minimum(0.0, x), 0.0),
        (lambda xp, x: xp.maximum(x, 3 * x), 2.0),  # each gets half
        (lambda xp, x: xp.minimum(x, 3 * x), 2.0),
        (lambda xp, x: abs(x), 0.0),
        (lambda xp, x: xp.logaddexp(x, xp.zeros_like(x)), 0.5),  # smooth, so halves
        (lambda xp, x: xp.maximum(x, 0.0) - x + xp.log1p(xp.exp(-abs(x))), -0.5),
        (lambda xp, x: xp.minimum(0.0, -x) - xp.log1p(xp.exp(-abs(x))), -0.5),
        (lambda xp, x: xp.where(x > 0, xp.sqrt(x), 0.0), 0.0),  # not 0 * infinity
        (lambda xp, x: xp.where(x > 0, 2 * xp.sqrt(x) + 1, x), 1.0),
        (lambda xp, x: xp.where(x > 0, xp.sum(xp.log(x)[:, None], axis=1), 2.0), 0.0),
        (lambda xp, x: abs(x) ** 1.5 + x**2.5, 0.0),
        (lambda xp, x: xp.sinh(x) + xp.cosh(x), 1.0),
        (lambda xp, x: xp.asinh(x) + xp.atanh(x) + xp.tan(x), 3.0),
        (lambda xp, x: xp.floor(x) + xp.sign(x) + xp.round(x), 0.0),
    ],
)
def test_slopes_at_zero(function, expected):
    assert slope(function, 0.0) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_finite_far_from_zero(name, dtype):
    rows = np.array([[-1e4, -1e3, -100], [-20, -1, 0], [1, 20, 100], [1e2, 1e3, 1e4]], dtype)
    (gradient,) = gradient_of(FUNCTIONS[name], [rows.shape], dtype)(np, rows)
    assert gradient.dtype == dtype
    assert np.isfinite(gradient).all()
