"""Numbers scaled to mean 0 and standard deviation 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.tables.scaling.base import (
    SMALLEST,
    Entries,
    Numbers,
    Scaling,
    bounded,
    bounded_product,
    mean_and_deviation,
    median_of,
)


def standard_scaled(number: float, scale: dict[str, Any]) -> float:
    """Return (number - mean) / deviation."""
    return bounded(number, scale["mean"], 1 / max(scale["deviation"], SMALLEST))


@dataclass(frozen=True, eq=False)
class StandardScaling(Scaling):
    """z = (x - mean) / deviation, with the population standard deviation, which is above 0."""

    name = "standard"
    number = staticmethod(standard_scaled)
    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def statistics(x: np.ndarray, rows: int) -> Entries:
        return median_of(x), *mean_and_deviation(x)

    def transform(self, x: Numbers, columns: np.ndarray | slice) -> Numbers:
        factor = 1 / np.maximum(self.deviation[columns], SMALLEST)
        return bounded_product(x, self.mean[columns], factor)

    def check(self) -> None:
        if (self.deviation <= 0).any():
            raise ArgumentError(
                f"arrays: 'deviation': expected numbers > 0; got {self.deviation.min()}"
            )
