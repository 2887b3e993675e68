"""Numbers scaled by their median and quartiles, smoothly clipped."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.tables.scaling.base import SMALLEST, Entries, Numbers, Scaling, bounded, bounded_product

LIMIT = 3.0


def robust_scaled(number: float, scale: dict[str, Any]) -> float:
    """Return z / sqrt(1 + (z / 3)^2) for z = (number - median) * factor."""
    z = bounded(number, scale["median"], scale["factor"])
    return z / math.sqrt((z / LIMIT) * (z / LIMIT) + 1)


@dataclass(frozen=True, eq=False)
class RobustScaling(Scaling):
    r"""z / sqrt(1 + (z / 3)^2) with z = (x - median) * f. The result is between -3 and 3.

    f = 1 / (q75 - q25), with the quartiles q25 and q75. If these are equal, f = 2 / d, where d is
    the median of |x - median| over the numbers that differ from the median.
    """

    name = "robust"
    number = staticmethod(robust_scaled)
    factor: np.ndarray

    @staticmethod
    def statistics(x: np.ndarray, rows: int) -> Entries:
        q25, median, q75 = np.quantile(x / 2, [0.25, 0.5, 0.75])  # half, so that nothing overflows
        half = q75 - q25
        if half == 0:
            distances = np.abs(x / 2 - median)
            half = np.median(distances[distances > 0]) / 2 if distances.any() else 0.0
        return 2 * median, 0.0 if half == 0 else 0.5 / max(half, SMALLEST)

    def transform(self, x: Numbers, columns: np.ndarray | slice) -> Numbers:
        z = bounded_product(x, self.median[columns], self.factor[columns])
        part = z / LIMIT
        return z / np.sqrt(part * part + 1)

    def check(self) -> None:
        if (self.factor < 0).any():
            raise ArgumentError("arrays: 'factor' holds numbers below 0")
