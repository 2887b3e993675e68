"""Scales of number columns, learned from the training rows in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.tables.normal import normal_quantiles

__all__ = [
    "SCALINGS",
    "NoScaling",
    "QuantileScaling",
    "RobustScaling",
    "Scaling",
    "StandardScaling",
]

LIMIT = 3.0
"""Bound of robustly scaled numbers."""

LARGEST = 1e150
"""Where scaled numbers are cut off before they are squared."""

INTERPOLATED = 8e307
"""Numbers are cut off here before they are interpolated, so that no difference overflows."""

SMALLEST = float(np.finfo(np.float64).tiny)
"""Widths below this, whose reciprocals overflow, are taken as this."""

NOISE = 1e-5
"""Standard deviation of the noise that parts equal numbers, in those of the column."""

MOST_DEVIATIONS = 100
"""Largest standard deviation that counts for the noise, in distances of quartiles."""

MOST_QUANTILES, FEWEST_QUANTILES, ROWS_A_QUANTILE = 1000, 10, 30

OUTERMOST = 1e-7
"""Probability beyond which quantiles of the normal distribution are cut off, at 5.199."""


@dataclass(frozen=True, eq=False)
class Scaling(ABC):
    """The scale of each number column; the fields are arrays of float64 with an entry a column.

    Attributes
    ----------
    median : ndarray of shape (columns,)
        It stands in for missing numbers.
    """

    name: ClassVar[str]
    median: np.ndarray

    @classmethod
    def fit(cls, columns: Sequence[np.ndarray], rows: int, random: np.random.Generator) -> Self:
        """Learn a scale from the numbers of each column.

        Parameters
        ----------
        columns : sequence of ndarray of float64
            Of the training rows, finite, and at least one in each; without missing ones.
        rows : int
            The training rows, those with missing numbers included.
        random : Generator
            The source of noise.

        Returns
        -------
        Scaling
        """
        learned = [cls.statistics(column, rows, random) for column in columns]
        shapes = [np.shape(each) for each in cls.statistics(np.zeros(2), rows, random)]
        return cls(
            *(
                np.array([each[field] for each in learned]).reshape(len(columns), *shape)
                for field, shape in enumerate(shapes)
            )
        )

    @staticmethod
    @abstractmethod
    def statistics(
        x: np.ndarray, rows: int, random: np.random.Generator
    ) -> tuple[float | np.ndarray, ...]:
        """Return an entry for each field from the numbers of a column."""

    @abstractmethod
    def transform(self, x: np.ndarray, column: int) -> np.ndarray:
        """Return the numbers of a column, shape (rows,) and finite, on its scale."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], columns: int) -> Self:
        """Return the scaling that has these arrays.

        Raises
        ------
        ArgumentError
            If one is missing, there are others, or one has another shape or dtype, is not finite or
            is not in order.
        """
        names = [field.name for field in fields(cls)]
        if set(arrays) != set(names):
            raise ArgumentError(
                f"arrays: {cls.name} scaling has {sorted(names)}; got {sorted(arrays)}"
            )
        for name, array in arrays.items():
            axes = 2 if name == "quantiles" else 1
            if array.dtype != np.float64 or array.ndim != axes or len(array) != columns:
                raise ArgumentError(
                    f"arrays: {name!r}: expected float64 with {columns} entries; got "
                    f"{array.dtype} of shape {array.shape}"
                )
            if not np.isfinite(array).all():
                raise ArgumentError(f"arrays: {name!r} holds numbers that are not finite")
        scaling = cls(**arrays)
        scaling.check()
        return scaling

    def check(self) -> None:  # noqa: B027  most have nothing to check
        """Raise an ArgumentError if the arrays are impossible."""


@dataclass(frozen=True, eq=False)
class NoScaling(Scaling):
    """The numbers as they are."""

    name = "none"

    @staticmethod
    def statistics(
        x: np.ndarray, rows: int, random: np.random.Generator
    ) -> tuple[float | np.ndarray, ...]:
        return (middle(x),)

    def transform(self, x: np.ndarray, column: int) -> np.ndarray:
        return x


@dataclass(frozen=True, eq=False)
class StandardScaling(Scaling):
    """z = (x - mean) / deviation.

    Attributes
    ----------
    median, mean, deviation : ndarray of shape (columns,)
        The deviation is that of the population, and above 0.
    """

    name = "standard"
    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def statistics(
        x: np.ndarray, rows: int, random: np.random.Generator
    ) -> tuple[float | np.ndarray, ...]:
        mean, deviation = mean_and_deviation(x)
        return middle(x), mean, deviation

    def transform(self, x: np.ndarray, column: int) -> np.ndarray:
        return bounded_product(x, self.mean[column], 1 / max(self.deviation[column], SMALLEST))

    def check(self) -> None:
        if (self.deviation <= 0).any():
            raise ArgumentError("arrays: 'deviation' holds numbers that are not above 0")


@dataclass(frozen=True, eq=False)
class RobustScaling(Scaling):
    r"""z = (x - median) f, then z / sqrt(1 + (z / 3)^2), which lies between -3 and 3.

    f = 1 / (q75 - q25), the distance of the quartiles; where that is 0, f = 2 / (max - min).

    Attributes
    ----------
    median, factor : ndarray of shape (columns,)
    """

    name = "robust"
    factor: np.ndarray

    @staticmethod
    def statistics(
        x: np.ndarray, rows: int, random: np.random.Generator
    ) -> tuple[float | np.ndarray, ...]:
        low, q25, median, q75, high = np.quantile(x / 2, [0, 0.25, 0.5, 0.75, 1])
        half = q75 - q25 if q75 > q25 else (high - low) / 2  # half, so that nothing overflows
        return 2 * median, 0.0 if half == 0 else 0.5 / max(half, SMALLEST)

    def transform(self, x: np.ndarray, column: int) -> np.ndarray:
        z = bounded_product(x, self.median[column], self.factor[column])
        square = z / LIMIT
        square *= square
        square += 1
        z /= np.sqrt(square, out=square)
        return z

    def check(self) -> None:
        if (self.factor < 0).any():
            raise ArgumentError("arrays: 'factor' holds numbers below 0")


@dataclass(frozen=True, eq=False)
class QuantileScaling(Scaling):
    """z = Phi^-1(p), where p is the place of x among the quantiles, Phi the normal distribution.

    The quantiles are those at 0, 1/(m-1), .., 1 of the column with noise added, m being a thirtieth
    of the rows, at least 10 and at most 1,000. Between two of them p is linear. |z| is at most
    5.199.

    Attributes
    ----------
    median : ndarray of shape (columns,)
    quantiles : ndarray of shape (columns, m)
        Ascending.
    """

    name = "quantile"
    quantiles: np.ndarray

    @staticmethod
    def statistics(
        x: np.ndarray, rows: int, random: np.random.Generator
    ) -> tuple[float | np.ndarray, ...]:
        count = max(min(rows // ROWS_A_QUANTILE, MOST_QUANTILES), FEWEST_QUANTILES)
        x = np.clip(x, -INTERPOLATED, INTERPOLATED)
        noisy = x + random.normal(0, NOISE * deviation_without_outliers(x), len(x))
        quantiles = np.quantile(noisy, np.linspace(0, 1, count))
        # Interpolation may be out of order by its rounding.
        return middle(x), np.maximum.accumulate(quantiles)

    def transform(self, x: np.ndarray, column: int) -> np.ndarray:
        x = np.clip(x, -INTERPOLATED, INTERPOLATED)
        quantiles = self.quantiles[column]
        places = np.linspace(0, 1, len(quantiles))
        p = np.interp(x, quantiles, places)
        if (quantiles[1:] == quantiles[:-1]).any():
            # A number that is several quantiles gets the middle of their places.
            p -= np.interp(-x, -quantiles[::-1], -places[::-1])
            p /= 2
        return normal_quantiles(np.clip(p, OUTERMOST, 1 - OUTERMOST, out=p))

    def check(self) -> None:
        if self.quantiles.shape[1] < 2 or (np.diff(self.quantiles, axis=1) < 0).any():
            raise ArgumentError("arrays: 'quantiles' are fewer than two, or not ascending")


def middle(x: np.ndarray) -> float:
    """Return the median."""
    return 2 * float(np.median(x / 2))  # the mean of two large numbers must not overflow


def mean_and_deviation(x: np.ndarray) -> tuple[float, float]:
    """Return the mean and the population's standard deviation, without overflow or underflow."""
    largest = np.abs(x).max()
    if largest == 0:
        return 0.0, 1.0
    scaled = x / largest
    deviation = float(scaled.std() * largest)
    return float(scaled.mean() * largest), deviation or float(largest)


def deviation_without_outliers(x: np.ndarray) -> float:
    """Return the standard deviation, or less where a few numbers, far away, make it large.

    Such as 999999999 for a value that nobody knows: noise in proportion to that would be larger
    than all differences of the others.
    """
    _, deviation = mean_and_deviation(x)
    q05, q25, q75, q95 = np.quantile(x, [0.05, 0.25, 0.75, 0.95])
    distance = q75 - q25 or q95 - q05
    if 0 < distance < deviation / MOST_DEVIATIONS:
        return float(MOST_DEVIATIONS * distance)
    return deviation


def bounded_product(x: np.ndarray, center: float, factor: float) -> np.ndarray:
    """Return (x - center) factor, cut off at `LARGEST`, in a new array."""
    with np.errstate(over="ignore"):
        z = x - center
        z *= factor
    return np.clip(z, -LARGEST, LARGEST, out=z)


SCALINGS: dict[str, type[Scaling]] = {
    each.name: each for each in (RobustScaling, QuantileScaling, StandardScaling, NoScaling)
}
