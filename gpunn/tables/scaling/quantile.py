"""Map numbers to a normal distribution with the quantiles of the training rows."""

import bisect
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.tables.onnx_nodes import Value, where
from gpunn.tables.scaling.base import Entries, Numbers, Scaling, mean_and_deviation, median_of
from gpunn.tables.scaling.normal import EDGE, central, normal_quantiles, tail

INTERPOLATED = 8e307
"""Absolute value to which numbers are clipped, so that differences in interpolation are finite."""

NOISE = 1e-5
"""Size of the noise that separates equal numbers, relative to the standard deviation or, if
smaller, to the number. So small numbers of a column with huge numbers remain distinct."""

MAX_DEVIATIONS = 100
"""Maximum deviation for the noise, in interquartile ranges: outliers must not enlarge the noise."""

MAX_QUANTILES, MIN_QUANTILES, ROWS_A_QUANTILE = 1000, 10, 30

OUTERMOST = 1e-7
"""Ranks are clipped to this distance from 0 and 1, so that z is at most 5.199."""


def quantile_scaled(number: float, scale: dict[str, Any]) -> float:
    """Return the quantile of the normal distribution at a number's rank in the training rows."""
    if "lines" not in scale:
        scale["lines"] = lines_through(scale["quantiles"])
    forward, *backward = scale["lines"]
    number = min(max(number, -INTERPOLATED), INTERPOLATED)
    p = interpolated(number, *forward)
    for line in backward:
        p = (p - interpolated(-number, *line)) / 2
    return statistics.NormalDist().inv_cdf(min(max(p, scale["lowest"]), scale["highest"]))


def lines_through(quantiles: list[float]) -> list[tuple[list[float], list[float]]]:
    # If some quantiles are equal, a second line has the same points, negated and in reverse order.
    # With both lines, a number that equals several quantiles gets the middle of their
    # probabilities.
    last = len(quantiles) - 1
    positions = [position * (1 / last) for position in range(last)] + [1.0]
    if len(set(quantiles)) == len(quantiles):
        return [(quantiles, positions)]
    return [
        (quantiles, positions),
        ([-x for x in reversed(quantiles)], [-p for p in reversed(positions)]),
    ]


def interpolated(number: float, points: list[float], values: list[float]) -> float:
    position = bisect.bisect_right(points, number) - 1
    if position < 0 or position == len(points) - 1:
        return values[max(position, 0)]
    slope = (values[position + 1] - values[position]) / (points[position + 1] - points[position])
    return slope * (number - points[position]) + values[position]


@dataclass(frozen=True, eq=False)
class QuantileScaling(Scaling):
    """z = Phi^-1(p): p in [0, 1] is the rank of x, and Phi the normal distribution function.

    First, noise is added to the column, so that rounding of numbers does not change z. Then the
    column's m quantiles at 0, 1/(m-1), ..., 1 are computed. The number m is rows / 30, but at least
    10 and at most 1,000. Between two quantiles, p is linear. If x equals several quantiles, p is
    the mean of their lowest and highest rank. Outside the column's range, p is the rank of the
    column's smallest or largest number.
    """

    name = "quantile"
    number = staticmethod(quantile_scaled)
    quantiles: np.ndarray
    """The ascending quantiles of each column, shape (columns, m)."""
    lowest: np.ndarray
    """The rank of each column's smallest number."""
    highest: np.ndarray
    """The rank of each column's largest number."""

    @staticmethod
    def statistics(x: np.ndarray, rows: int) -> Entries:
        count = max(min(rows // ROWS_A_QUANTILE, MAX_QUANTILES), MIN_QUANTILES)
        x = np.clip(x, -INTERPOLATED, INTERPOLATED)
        scale = np.minimum(deviation_without_outliers(x), np.abs(x))
        noisy = x + np.random.default_rng(0).normal(0, NOISE, len(x)) * scale
        quantiles = np.quantile(noisy, np.linspace(0, 1, count))
        # Rounding in the interpolation may change the order.
        quantiles = np.maximum.accumulate(quantiles)
        # If a tenth of the rows has the largest number, its z is 1.6. Without `highest`, z would be
        # 5.2 for any larger number, however close.
        ends = ranks(np.array([x.min(), x.max()]), quantiles)
        return median_of(x), quantiles, *np.clip(ends, OUTERMOST, 1 - OUTERMOST)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], columns: int) -> Self:
        # Files of version 0.2.0 have no ends.
        ends = {"lowest": OUTERMOST, "highest": 1 - OUTERMOST}
        defaults = {name: np.full(columns, end) for name, end in ends.items()}
        return super().from_arrays({**defaults, **arrays}, columns)

    def transform(self, x: Numbers, columns: np.ndarray | slice) -> Numbers:
        x = np.clip(x, -INTERPOLATED, INTERPOLATED)
        p = np.empty_like(x)
        for number, quantiles in enumerate(self.quantiles[columns]):
            p[:, number] = ranks(x[:, number], quantiles)
        return normal_quantiles(np.clip(p, self.lowest[columns], self.highest[columns], out=p))

    def nodes(self, x: Numbers) -> Numbers:
        quantiles = self.quantiles
        search = Search(np.clip(x, -INTERPOLATED, INTERPOLATED), quantiles)
        p = search.position(np.less_equal)
        if (quantiles[:, 1:] == quantiles[:, :-1]).any():
            p = (p + search.position(np.less)) / 2
        p = np.minimum(np.maximum(p, self.lowest), self.highest)
        q = p - 0.5
        return where(np.absolute(q) > EDGE, tail(p) * np.sign(q), central(q))

    def check(self) -> None:
        if self.quantiles.shape[1] < 2 or (np.diff(self.quantiles, axis=1) < 0).any():
            raise ArgumentError("arrays: expected at least two ascending 'quantiles' per column")
        if not ((self.lowest > 0) & (self.lowest <= self.highest) & (self.highest < 1)).all():
            raise ArgumentError("arrays: expected 0 < 'lowest' <= 'highest' < 1")


def ranks(x: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    positions = np.linspace(0, 1, len(quantiles))
    p: np.ndarray = np.interp(x, quantiles, positions)
    if (quantiles[1:] == quantiles[:-1]).any():
        # A number that equals several quantiles gets the middle of their probabilities.
        p = (p - np.interp(-x, -quantiles[::-1], -positions[::-1])) / 2
    return p


class Search:
    """Computes, in an ONNX graph, the position of each number among ascending points.

    x has shape (rows, columns). The points have shape (columns, count), so each column of x has
    separate points.
    """

    def __init__(self, x: Value, points: np.ndarray) -> None:
        self._x, self._column = x, x[:, :, None]
        columns, self._count = points.shape
        self._size = math.isqrt(self._count - 1) + 1
        blocks = -(-self._count // self._size)
        filled = np.full((columns, blocks * self._size), np.inf)
        filled[:, : self._count] = points
        self._heads = filled[:, :: self._size]
        self._blocks = x.constant(filled.reshape(-1, self._size))
        self._first_blocks = np.arange(columns) * blocks
        # Outer points surround all numbers; a difference to them does not overflow.
        far = np.full((columns, 1), 1.05 * INTERPOLATED)
        self._knots = x.constant(np.hstack([-far, points, far]).ravel())
        self._first_knots = np.arange(columns) * (self._count + 2)

    def position(self, comparison: np.ufunc) -> Any:
        # 0 at the first point, 1 at the last, interpolated elsewhere. `np.less_equal` selects the
        # last of equal points, and `np.less` selects the first.
        block = np.maximum(comparison(self._heads, self._column).counted() - 1, 0)
        points = self._blocks.take(block + self._first_blocks, axis=0)
        count = block * self._size + comparison(points, self._column).counted()
        lower = count + self._first_knots
        left, right = (self._knots.take(knot, axis=0) for knot in (lower, lower + 1))
        part = (self._x - left) / (right - left)
        return ((count - 1).astype("float64") + part) / (self._count - 1)


def deviation_without_outliers(x: np.ndarray) -> float:
    # Otherwise, an outlier such as 999999999 for an unknown value would make the noise larger than
    # all differences between the other numbers.
    _, deviation = mean_and_deviation(x)
    q05, q25, q75, q95 = np.quantile(x, [0.05, 0.25, 0.75, 0.95])
    distance = q75 - q25 or q95 - q05
    if 0 < distance < deviation / MAX_DEVIATIONS:
        return float(MAX_DEVIATIONS * distance)
    return deviation
