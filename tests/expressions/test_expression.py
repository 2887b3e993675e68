"""Test expressions: computed with any array library, they equal the function that was traced."""

import copy
import pickle
from random import random

import array_api_strict
import numpy as np
import pytest
from functions import FUNCTIONS

from gpunn.expressions import Expression, Untraceable, expression_of, require_separate_rows
from gpunn.expressions.graph import Graph
from gpunn.expressions.namespace import Namespace
from gpunn.expressions.stand_ins import Tracer

X = np.random.default_rng(0).normal(0, 2, (4, 3))
SHAPES = {"x": (X.shape, "float")}


def labels(xp, x, labels):
    chosen = labels[:, None] == xp.arange(3, dtype=labels.dtype)
    odd = xp.logical_not(chosen) & (labels[:, None] != 1)
    return xp.where(chosen | (x > 0), x[:, :1], xp.log(xp.astype(odd, x.dtype) + 2.0)) * 0.5


@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_computed_expression_equals_its_function(name, xp):
    expression = expression_of(FUNCTIONS[name], SHAPES, "float64")
    (result,) = expression(xp, xp.asarray(X))
    expected = FUNCTIONS[name](xp, xp.asarray(X))
    np.testing.assert_allclose(np.asarray(result), np.asarray(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_conditions_and_columns_are_computed(xp, dtype):
    x, t = xp.asarray(X, dtype=getattr(xp, dtype)), xp.asarray(np.array([0, 2, 1, 0]))
    shapes = {"x": (X.shape, "float"), "labels": ((4,), "int")}
    (result,) = expression_of(labels, shapes, dtype)(xp, x, t)
    assert result.dtype == x.dtype
    np.testing.assert_allclose(np.asarray(result), np.asarray(labels(xp, x, t)), rtol=1e-6)


@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "function",
    [
        lambda xp, x: xp.argmax(x, axis=1) * 2,
        lambda xp, x: xp.argmin(x, axis=-1, keepdims=True),
        lambda xp, x: xp.count_nonzero(x > 0, axis=1) < 2,
        lambda xp, x: xp.count_nonzero(x, axis=0),
        lambda xp, x: xp.all(x > -2, axis=1, keepdims=True),
        lambda xp, x: xp.any(x > 2) | xp.all(x, axis=1),
    ],
)
def test_positions_and_counts_are_integers(function, dtype, xp):
    x = xp.asarray(np.round(X), dtype=getattr(xp, dtype))  # some rows have two maxima
    (result,) = expression_of(function, SHAPES, dtype)(xp, x)
    expected = function(xp, x)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(np.asarray(result), np.asarray(expected))


def test_the_first_nan_is_the_largest_and_the_smallest():
    x = np.array([[1.0, np.nan, 3.0], [np.nan, 3.0, np.nan], [np.nan] * 3, [-np.inf] * 3])
    first, last = expression_of(
        lambda xp, x: (xp.argmax(x, axis=1), xp.argmin(x, axis=1)), {"x": (x.shape, "float")}, float
    )(np, x)
    assert first.tolist() == last.tolist() == np.argmax(x, axis=1).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_expression_in_a_trace_is_the_same_graph(name):
    expression = expression_of(FUNCTIONS[name], SHAPES, "float64")
    tracer = Tracer(Graph(), np.dtype("float64"))
    xp, x = Namespace(tracer), tracer.input("x", X.shape)
    (inlined,) = expression(xp, x)
    assert inlined.node is FUNCTIONS[name](xp, x).node


def test_constants_stay_apart_if_rounding_could_change_a_discontinuous_function():
    def steps(xp, x):
        return xp.floor(x / 49.0) + xp.round(-(x * 2.0 / 41.0)) + xp.floor(x * 0.1 * 10.0)

    x = np.arange(-300.0, 300.0)
    (result,) = expression_of(steps, {"x": (x.shape, "float")}, "float64")(np, x)
    assert np.array_equal(result, steps(np, x))


@pytest.mark.parametrize(("x", "factor"), [(1e20, 0.04), (1e-20, 30.0)])
def test_factors_of_products_are_multiplied_first_as_written(x, factor):
    def squared(xp, x):
        return (factor * x) * (factor * x)

    array = np.array([x], np.float32)
    (result,) = expression_of(squared, {"x": ((1,), "float")}, "float32")(np, array)
    assert result == squared(np, array)  # x^2 would overflow or be subnormal


def test_a_product_of_multiples_may_have_the_factor_zero():
    (result,) = expression_of(lambda xp, x: (0.0 * x) * (2.0 * x), SHAPES, "float64")(np, X)
    assert not result.any()


@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
def test_constants_need_no_array(xp):
    (result,) = expression_of(lambda xp: xp.zeros((4, 3)) + 1.5, {}, "float64")(xp)
    assert np.array_equal(np.asarray(result), np.full((4, 3), 1.5))


def test_several_results_and_constants():
    expression = expression_of(lambda xp, x: (2.0, x), {"x": ((2,), "float")}, "float32")
    constant, same = expression(np, np.ones(2, np.float32))
    assert (constant.dtype, constant.item(), same.tolist()) == (np.float32, 2.0, [1.0, 1.0])


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda xp, x: xp.sort(x, axis=1), "xp.sort"),
        (lambda xp, x: x * random(), "result changes"),
        (lambda xp, x: x.__imul__(2.0), "changes its arguments"),
        (lambda xp, x: kept.append(x) or x, "stores arrays"),
        (lambda xp, x: x + X, "type ndarray"),
        (lambda xp, x: x * np.sqrt(2.0), "type float64 .*; convert the number by float or int"),
    ],
)
def test_other_code_is_refused(function, reason):
    with pytest.raises(Untraceable, match=reason):
        expression_of(function, SHAPES, "float64")


kept = []


@pytest.mark.parametrize(("axis", "correction"), [(1, 0.0), (0, 1.0), (None, 1.0)])
def test_standard_deviations(axis, correction):
    def deviations(xp, x):
        return xp.std(x, axis=axis, correction=correction)

    (result,) = expression_of(deviations, SHAPES, "float64")(np, X)
    np.testing.assert_allclose(result, np.std(X, axis=axis, ddof=correction), rtol=1e-12)


def test_arrays_of_other_shapes_are_refused():
    expression = expression_of(lambda xp, x: x, SHAPES, "float64")
    with pytest.raises(ValueError, match=r"x: expected shape \(4, 3\); got \(3,\)"):
        expression(np, X[0])


def rowwise(function, shape):
    expression = expression_of(function, {"x": (shape, "float")}, "float64")
    assert isinstance(expression, Expression)
    require_separate_rows(expression.results, expression.inputs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_separate_rows_are_accepted(name):
    rowwise(FUNCTIONS[name], (3, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda xp, x: x - xp.mean(x, axis=0),
        lambda xp, x: x / xp.max(x),
        lambda xp, x: x + xp.sum(x, axis=1),  # a vector of rows, as a vector of columns
        lambda xp, x: xp.reshape(x, (9,)),
        lambda xp, x: x[:, None, :] - x[None, :, :],
        lambda xp, x: xp.sum(x[:, :, None] * x[None, :, :], axis=(1, 2)),
    ],
)
def test_functions_that_combine_rows_are_refused(function):
    with pytest.raises(Untraceable, match="several rows"):
        rowwise(function, (3, 3))


def test_a_copy_of_an_expression_computes_the_same():
    expression = expression_of(FUNCTIONS["mish"], SHAPES, "float64")
    (expected,) = expression(np, X)
    for copied in (copy.deepcopy(expression), pickle.loads(pickle.dumps(expression))):
        np.testing.assert_array_equal(copied(np, X)[0], expected)


def test_an_expression_shows_its_functions():
    expression = expression_of(lambda xp, x: (xp.sum(x[:, 1:] / 3, axis=1), x), SHAPES, "float32")
    assert str(expression).splitlines() == [
        "t1 = columns(x, (1, 3))",
        "t2 = multiply(t1, 0.333333)",
        "t3 = row_sum(t2)",
        "return t3, x",
    ]
