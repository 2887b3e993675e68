"""Test which nodes are recognized as zero."""

import pytest

from gpunn.expressions import expression_of
from gpunn.expressions.algebra import is_zero


def total(xp, x):
    return xp.sum(x, axis=1)


def line(xp):
    return xp.arange(3, dtype=xp.float64)


def first(xp, r):
    """Return rows that begin with the number r; all other numbers are 0."""
    node, graph = xp.tracer.node_of(r[:, None]), xp.tracer.graph
    inside = graph.node("interval", shape=(3,), kind="bool", data=(0, 1))
    zero = graph.number(0.0)
    return r.view(graph.node("where", inside, node, zero, shape=(4, 3), kind="float"))


ZEROS = [
    lambda xp, x, r: r - r,
    lambda xp, x, r: 1 - total(xp, xp.exp(x) / total(xp, xp.exp(x))[:, None]),
    lambda xp, x, r: total(xp, x * r[:, None]) - r * total(xp, x),
    lambda xp, x, r: total(xp, x + r[:, None]) - total(xp, x) - 3 * r,
    lambda xp, x, r: r * (r + 2) - r * r - 2 * r,
    lambda xp, x, r: r / (2 * r) - 0.5,
    lambda xp, x, r: (
        total(xp, xp.where(x > 0, r[:, None], 0.0) * 2)
        - 2 * r * total(xp, xp.where(x > 0, 1.0, 0.0))
    ),
    lambda xp, x, r: (
        total(xp, xp.where((r > 0)[:, None], x, 0.0)) - xp.where(r > 0, 1.0, 0.0) * total(xp, x)
    ),
    lambda xp, x, r: total(xp, first(xp, r) * x) - r * x[:, 0],
    lambda xp, x, r: total(xp, first(xp, r)) - r,
    lambda xp, x, r: r / (r + 1) + 1 / (r + 1) - 1,
    lambda xp, x, r: 1 / (1 + 1 / (r + 2)) - (r + 2) / (r + 3),
]

OTHERS = [
    lambda xp, x, r: total(xp, xp.where(x > 0, x, 0.0)) - total(xp, xp.where(x > 0, 0.0, x)),
    lambda xp, x, r: 3 * total(xp, x * line(xp)) - 3 * total(xp, x),
    lambda xp, x, r: 3 * total(xp, x * line(xp)) - total(xp, line(xp) + 0 * x) * total(xp, x),
    lambda xp, x, r: (
        3 * total(xp, x * line(xp)) - total(xp, xp.broadcast_to(line(xp), x.shape)) * total(xp, x)
    ),
    lambda xp, x, r: (
        3 * total(xp, x * line(xp)[None, :]) - total(xp, line(xp)[None, :] + 0 * x) * total(xp, x)
    ),
    lambda xp, x, r: total(xp, xp.where(~(x > 0), x, 0.0) - xp.where(~(x > 1), x, 0.0)),
    lambda xp, x, r: total(xp, first(xp, r) * x) - r * x[:, 1],
    lambda xp, x, r: total(xp, first(xp, r)) - 3 * r,
    lambda xp, x, r: 1 - total(xp, x),
    lambda xp, x, r: total(xp, x * x) - total(xp, x) ** 2,
    lambda xp, x, r: total(xp, x * xp.sin(x)) - total(xp, xp.sin(x)),
    lambda xp, x, r: r / (r + 1) - 1,
    lambda xp, x, r: 1 / (1 + 1 / (r + 2)) - (r + 2) / (r + 4),
]


@pytest.mark.parametrize("function", [*ZEROS, *OTHERS])
def test_zeros_are_recognized(function):
    shapes = {"x": ((4, 3), "float"), "r": ((4,), "float")}
    (root,) = expression_of(function, shapes, "float64").results
    assert is_zero(root) == (function in ZEROS)


def test_a_sum_of_many_products_is_not_expanded():
    def function(xp, x, r):
        for k in range(40):
            r = r * (r + k)
        return r

    shapes = {"x": ((4, 3), "float"), "r": ((4,), "float")}
    assert not is_zero(expression_of(function, shapes, "float64").results[0])
