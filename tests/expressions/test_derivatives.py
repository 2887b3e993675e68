"""Test derivatives of graphs against central differences."""

import math

import numpy as np
import pytest
from functions import FUNCTIONS, gradient_of
from numerical import gradient

from gpunn.expressions import expression_of, in_order

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(0, 2, (4, 3))


def check(function, *arrays):
    computed = gradient_of(function, [array.shape for array in arrays])(np, *arrays)
    for array, actual in zip(arrays, computed, strict=True):
        expected = gradient(lambda: np.sum(function(np, *arrays)), array)
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


def functions_of(function, *shapes):
    """Return the functions of the gradients' graph, without constants."""
    order = in_order(gradient_of(function, shapes).results)
    return sorted(each.op for each in order if each.op not in ("array", "number"))


@pytest.mark.parametrize(
    ("name", "point", "expected"),
    [
        ("asinh", 3e30, 1 / 3e30),  # the square is not finite in float32
        ("asinh", -2.0, 1 / math.sqrt(5)),
        ("acosh", 1.0, math.inf),
        ("acosh", 3e30, 1 / 3e30),
        ("atanh", -0.9375, 1 / (1 - 0.9375**2)),
        ("tan", 1.5707963, 1 / math.cos(1.5707963) ** 2),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slopes_of_functions_that_are_made_of_others(name, point, expected, dtype):
    x = np.array(point, dtype)
    if name == "tan":
        expected = float(1 / np.cos(x) ** 2)
    found = slope(lambda xp, x: getattr(xp, name)(x), float(x), dtype)
    assert found == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-14)
    many = {"asinh": 9, "acosh": 6, "atanh": 4, "tan": 3}[name]
    assert len(functions_of(lambda xp, x: getattr(xp, name)(x), (4, 3))) <= many


def test_sums_of_gradients_are_joined():
    shapes = (4, 3), (4, 1), (3,), (3,)
    # dL/dp = sum(b - c), dL/db = sum of p
    found = functions_of(lambda xp, x, p, b, c: x * (p * b + (1 - p) * c), *shapes)
    assert (found.count("row_sum"), found.count("column_sum"), found.count("negative")) == (1, 2, 0)
    a, b = (np.exp(X), np.exp(-X))  # (a - b) x, with one product
    found = functions_of(lambda xp, p, x, a, b: p * (x * a) - p * (b * x), *[(4, 1), *[(4, 3)] * 3])
    assert found.count("row_sum") == 1
    check(lambda xp, p, x, a, b: p * (x * a) - p * (b * x), C.copy(), X.copy(), a, b)
    check(lambda xp, p, x, a, b: -p * (x * a) - p * (b + x), C.copy(), X.copy(), a, b)
    # a square's slope is one product, so that an engine can add it to others by one function
    found = functions_of(lambda xp, x, c: xp.sin(c) * (x * x) + c * x, (4, 3), (4, 3))
    assert found.count("add") == 2
    # both parts of p's gradient are 0 in the first columns
    either = functions_of(lambda xp, p, q: (p + q - p * q)[:, 1:], (4, 3), (4, 3))
    assert either.count("where") == 2
    check(lambda xp, p, q: (p + q - p * q)[:, 1:], X.copy(), X[::-1].copy())
    check(lambda xp, p, q: xp.where(q > 0, p * q + xp.sin(p), 1.0), X.copy(), X[::-1].copy())


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda xp, x: -x + xp.exp(x), ["exp", "subtract"]),
        (lambda xp, x: xp.exp(x) + -x, ["exp", "subtract"]),
        (lambda xp, x: xp.exp(x) - -x, ["add", "exp"]),
        (lambda xp, x: -xp.exp(x) * 0.25, ["exp", "multiply"]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_negatives_are_parts_of_other_functions(function, expected, dtype):
    expression = expression_of(function, {"x": (X.shape, "float")}, dtype)
    order = in_order(expression.results)
    assert sorted(each.op for each in order if each.op not in ("array", "number")) == expected
    integers = expression_of(
        lambda xp, x, i: x * xp.astype(-i + i * 2 - -i, x.dtype),
        {"x": ((2,), "float"), "i": ((2,), "int")},
        dtype,
    )
    sums = [each.kind for each in in_order(integers.results) if each.op in ("add", "subtract")]
    assert sums == ["int", "int"]
    x = np.array([0.0, -0.0, np.inf, -np.inf, 1e30, -1e-30, *X.flat[:6]], dtype).reshape(X.shape)
    with np.errstate(all="ignore"):
        wanted = function(np, x)
    assert expression(np, x)[0].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_finite_far_from_zero(name, dtype):
    rows = np.array([[-1e4, -1e3, -100], [-20, -1, 0], [1, 20, 100], [1e2, 1e3, 1e4]], dtype)
    (gradient,) = gradient_of(FUNCTIONS[name], [rows.shape], dtype)(np, rows)
    assert gradient.dtype == dtype
    assert np.isfinite(gradient).all()
