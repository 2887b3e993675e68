"""Scales of a schema's numbers as ONNX operators, in float64: `gpunn.tables.scaling` says which."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gpunn.errors import ExportError
from gpunn.interchange.onnx_graph import Graph
from gpunn.tables.normal import CENTRAL, TAIL
from gpunn.tables.scaling import (
    INTERPOLATED,
    LARGEST,
    LIMIT,
    OUTERMOST,
    SMALLEST,
    NoScaling,
    QuantileScaling,
    RobustScaling,
    Scaling,
    StandardScaling,
)

__all__ = ["scaled"]

Scaler: TypeAlias = Callable[[Graph, Any, str], str]
"""Takes the graph, the scaling, and the name of numbers (rows, columns); returns that of z."""


def scaled(graph: Graph, scaling: Scaling, x: str) -> str:
    """Return numbers, shape (rows, columns), on their columns' scales.

    Raises
    ------
    ExportError
        If the scaling is not one of gpunn's own.
    """
    scaler = SCALERS.get(type(scaling))
    if scaler is None:
        raise ExportError(
            f"schema: how to write the scaling {type(scaling).__name__} in ONNX is not known; "
            "export the network with encoded=True (--encoded)"
        )
    return scaler(graph, scaling, x)


def unscaled(graph: Graph, scaling: NoScaling, x: str) -> str:
    """Return x itself."""
    return x


def standard(graph: Graph, scaling: StandardScaling, x: str) -> str:
    """(x - mean) / deviation."""
    return bounded_product(graph, x, scaling.mean, 1 / np.maximum(scaling.deviation, SMALLEST))


def robust(graph: Graph, scaling: RobustScaling, x: str) -> str:
    """Return z / sqrt(1 + (z / 3)^2) of z = (x - median) f."""
    z = bounded_product(graph, x, scaling.median, scaling.factor)
    limit = graph.doubles(LIMIT, "schema.scaled.limit")
    part = graph.add("Div", z, limit, name="schema.scaled.part")
    square = graph.add("Mul", part, part, name="schema.scaled.square")
    one = graph.doubles(1, "schema.scaled.one")
    sum_ = graph.add("Add", square, one, name="schema.scaled.sum")
    root = graph.add("Sqrt", sum_, name="schema.scaled.root")
    return graph.add("Div", z, root, name="schema.scaled")


def bounded_product(graph: Graph, x: str, center: np.ndarray, factor: np.ndarray) -> str:
    """(x - center) factor, cut off where its square would overflow."""
    centers = graph.doubles(center, "schema.scaled.centers")
    centred = graph.add("Sub", x, centers, name="schema.scaled.centred")
    factors = graph.doubles(factor, "schema.scaled.factors")
    product = graph.add("Mul", centred, factors, name="schema.scaled.product")
    return clipped(graph, product, -LARGEST, LARGEST, "schema.scaled.bounded")


def clipped(graph: Graph, x: str, least: float, largest: float, name: str) -> str:
    """Return x within bounds."""
    ends = graph.doubles(least, f"{name}.least"), graph.doubles(largest, f"{name}.largest")
    return graph.add("Clip", x, *ends, name=name)


# ------------------------------------------------------------------------------------- quantiles


def quantile(graph: Graph, scaling: QuantileScaling, x: str) -> str:
    """Return Phi^-1(p), where p is the place of x among the quantiles."""
    x = clipped(graph, x, -INTERPOLATED, INTERPOLATED, "schema.scaled.x")
    quantiles = scaling.quantiles
    search = Search(graph, quantiles)
    p = search.place(x, "LessOrEqual")
    if (quantiles[:, 1:] == quantiles[:, :-1]).any():
        # A number that is several quantiles gets the middle of their places.
        first = search.place(x, "Less")
        sum_ = graph.add("Add", p, first, name="schema.scaled.both")
        half = graph.doubles(0.5, "schema.scaled.half")
        p = graph.add("Mul", sum_, half, name="schema.scaled.middle")
    p = clipped(graph, p, OUTERMOST, 1 - OUTERMOST, "schema.scaled.p")
    return normal_quantiles(graph, p)


class Search:
    """The place of numbers among ascending points of their columns.

    The points are in blocks, about as many as a block has points. A number is compared with the
    first point of each block, then with those of one, so that a cell takes twice the square root of
    the number of points, not all of them.

    Parameters
    ----------
    graph : Graph
    points : ndarray of shape (columns, count)
    """

    def __init__(self, graph: Graph, points: np.ndarray) -> None:
        self._graph = graph
        columns, self._count = points.shape
        self._size = math.isqrt(self._count - 1) + 1
        self._blocks = -(-self._count // self._size)
        filled = np.full((columns, self._blocks * self._size), np.inf)
        filled[:, : self._count] = points
        self._table = graph.doubles(filled.reshape(-1, self._size), "schema.quantiles")
        heads = filled[:, :: self._size].reshape(columns, self._blocks)
        self._heads = graph.doubles(heads, "schema.quantiles.heads")
        # What is less than all, or greater, lies between an end and these, whose distance to any
        # number that is interpolated does not overflow.
        far = np.full((columns, 1), 1.05 * INTERPOLATED)
        self._ends = graph.doubles(
            np.hstack([-far, points, far]).reshape(-1), "schema.quantiles.knots"
        )
        self._columns = columns

    def place(self, x: str, comparison: str) -> str:
        """Return the places p of numbers, linear from 0 at the first point to 1 at the last.

        Below the first they are below 0, and above the last above 1. Of equal points, the last
        counts with the comparison "LessOrEqual", the first with "Less".
        """
        graph, name = self._graph, f"schema.quantiles.{comparison}"
        integers = graph.integers
        axes = integers([2], f"{name}.axes")
        column = graph.add("Unsqueeze", x, axes, name=f"{name}.x")
        blocks = self._counted(self._heads, column, comparison, axes, f"{name}.blocks")
        one = integers([1], f"{name}.one")
        last = graph.add("Sub", blocks, one, name=f"{name}.last_block")
        block = graph.add("Max", last, integers([0], f"{name}.zero"), name=f"{name}.block")
        starts = integers(np.arange(self._columns) * self._blocks, f"{name}.block.starts")
        row = graph.add("Add", block, starts, name=f"{name}.row")
        points = graph.add("Gather", self._table, row, name=f"{name}.points", axis=0)
        within = self._counted(points, column, comparison, axes, f"{name}.within")
        size = integers([self._size], f"{name}.size")
        before = graph.add("Mul", block, size, name=f"{name}.before")
        count = graph.add("Add", before, within, name=f"{name}.count")
        starts = integers(np.arange(self._columns) * (self._count + 2), f"{name}.starts")
        lower = graph.add("Add", count, starts, name=f"{name}.lower")
        upper = graph.add("Add", lower, one, name=f"{name}.upper")
        left = graph.add("Gather", self._ends, lower, name=f"{name}.left", axis=0)
        right = graph.add("Gather", self._ends, upper, name=f"{name}.right", axis=0)
        distance = graph.add("Sub", x, left, name=f"{name}.distance")
        width = graph.add("Sub", right, left, name=f"{name}.width")
        part = graph.add("Div", distance, width, name=f"{name}.part")
        point = graph.add("Sub", count, one, name=f"{name}.point")
        double = graph.element_type("float64")
        number = graph.add("Cast", point, name=f"{name}.number", to=double)
        sum_ = graph.add("Add", number, part, name=f"{name}.sum")
        steps = graph.doubles(self._count - 1, f"{name}.steps")
        return graph.add("Div", sum_, steps, name=name)

    def _counted(self, points: str, x: str, comparison: str, axes: str, name: str) -> str:
        """Return how many of the points, on the last axis, are less than x, or equal to it."""
        graph = self._graph
        below = graph.add(comparison, points, x, name=f"{name}.are_below")
        ones = graph.add("Cast", below, name=f"{name}.ones", to=graph.element_type("int32"))
        sum_ = graph.add("ReduceSum", ones, axes, name=f"{name}.sum", keepdims=0)
        return graph.add("Cast", sum_, name=name, to=graph.element_type("int64"))


def normal_quantiles(graph: Graph, p: str) -> str:
    """Return Phi^-1(p), by the rational functions of `gpunn.tables.normal`."""
    doubles = graph.doubles
    half, edge = doubles(0.5, "schema.normal.half"), doubles(0.425, "schema.normal.edge")
    q = graph.add("Sub", p, half, name="schema.normal.q")
    square = graph.add("Mul", q, q, name="schema.normal.square")
    top = doubles(0.180625, "schema.normal.top")
    r = graph.add("Sub", top, square, name="schema.normal.r")
    ratio = rational(graph, r, CENTRAL, "schema.normal.central")
    central = graph.add("Mul", q, ratio, name="schema.normal.near")
    distance = graph.add("Abs", q, name="schema.normal.distance")
    # The smaller of p and 1 - p.
    other = graph.add("Sub", doubles(1, "schema.normal.one"), p, name="schema.normal.other")
    outer = graph.add("Min", p, other, name="schema.normal.outer")
    logarithm = graph.add("Log", outer, name="schema.normal.logarithm")
    opposite = graph.add("Neg", logarithm, name="schema.normal.opposite")
    root = graph.add("Sqrt", opposite, name="schema.normal.root")
    r = graph.add("Sub", root, doubles(1.6, "schema.normal.shift"), name="schema.normal.tail.r")
    ratio = rational(graph, r, TAIL, "schema.normal.tail")
    sign = graph.add("Sign", q, name="schema.normal.sign")
    tail = graph.add("Mul", ratio, sign, name="schema.normal.far")
    is_far = graph.add("Greater", distance, edge, name="schema.normal.is_far")
    return graph.add("Where", is_far, tail, central, name="schema.normal")


def rational(graph: Graph, x: str, coefficients: Any, name: str) -> str:
    """Return the quotient of two polynomials, whose highest power comes first."""
    axes = graph.integers([2], f"{name}.axes")
    column = graph.add("Unsqueeze", x, axes, name=f"{name}.x")
    matrix = np.array(coefficients).T
    exponents = graph.doubles(np.arange(len(matrix))[::-1], f"{name}.exponents")
    powers = graph.add("Pow", column, exponents, name=f"{name}.powers")
    weights = graph.doubles(matrix, f"{name}.coefficients")
    both = graph.add("MatMul", powers, weights, name=f"{name}.both")
    ends = []
    for place, which in enumerate(("above", "below")):
        index = graph.integers(place, f"{name}.{which}.place")
        ends.append(graph.add("Gather", both, index, name=f"{name}.{which}", axis=2))
    return graph.add("Div", *ends, name=name)


SCALERS: dict[type[Scaling], Scaler] = {
    NoScaling: unscaled,
    QuantileScaling: quantile,
    RobustScaling: robust,
    StandardScaling: standard,
}
"""By exact class: a subclass may compute something else."""
