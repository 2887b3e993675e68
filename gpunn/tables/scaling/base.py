"""The interface of scalings of number columns, learned from the training rows in float64."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from gpunn.errors import ArgumentError

LARGEST = 1e150
"""Absolute value to which scaled numbers are clipped before they are squared."""

SMALLEST = sys.float_info.min
"""Minimum width of a range of numbers, since the reciprocals of smaller widths overflow."""

Entries: TypeAlias = tuple[float | np.ndarray, ...]
"""The statistics of a column: one entry for each array field of the scaling."""

Numbers: TypeAlias = Any
"""An array, or a `gpunn.tables.onnx_nodes.Value`: the formulas of scalings accept both."""


@dataclass(frozen=True, eq=False)
class Scaling(ABC):
    """Scales columns of numbers. Fields are float64 arrays with an entry for each column."""

    name: ClassVar[str]
    median: np.ndarray

    @classmethod
    def fit(cls, columns: Sequence[np.ndarray], rows: int) -> Self:
        # `rows` also counts rows without a number.
        learned = [cls.statistics(column, rows) for column in columns]
        shapes = [np.shape(each) for each in cls.statistics(np.zeros(2), rows)]
        return cls(
            *(
                np.array([each[field] for each in learned]).reshape(len(columns), *shape)
                for field, shape in enumerate(shapes)
            )
        )

    @staticmethod
    @abstractmethod
    def statistics(x: np.ndarray, rows: int) -> Entries:
        """Return the statistics of one column: an entry for each array field of the class.

        x contains the column's numbers. `rows` also counts rows without a number.
        """

    @abstractmethod
    def transform(self, x: Numbers, columns: np.ndarray | slice) -> Numbers:
        """Return the scaled numbers of some columns; x has shape (rows, columns) and is finite."""

    def nodes(self, x: Numbers) -> Numbers:
        """Return x with each column scaled, in an ONNX graph.

        x is a value of the graph and has shape (rows, columns).
        """
        return self.transform(x, slice(None))

    @staticmethod
    @abstractmethod
    def number(number: float, scale: dict[str, Any]) -> float:
        """Scale one number of a column.

        `scale` maps the name of each field to the column's entry in this field.

        Exports copy this function. In C, `c_rows.h` has a function of the same name.
        """

    def arrays(self) -> dict[str, np.ndarray]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], columns: int) -> Self:
        names = [field.name for field in fields(cls)]
        if set(arrays) != set(names):
            raise ArgumentError(
                f"arrays: {cls.name} scaling has {sorted(names)}; got {sorted(arrays)}"
            )
        for name, array in arrays.items():
            axes = 2 if name == "quantiles" else 1
            if array.dtype != np.float64 or array.ndim != axes or len(array) != columns:
                shape = f"({columns}, quantiles)" if axes == 2 else f"({columns},)"
                raise ArgumentError(
                    f"arrays: {name!r}: expected float64 of shape {shape}; got "
                    f"{array.dtype} of shape {array.shape}"
                )
            if not np.isfinite(array).all():
                raise ArgumentError(f"arrays: {name!r} contains NaN or infinity")
        scaling = cls(**arrays)
        scaling.check()
        return scaling

    def check(self) -> None:  # noqa: B027  most scalings have nothing to check
        """Raise an ArgumentError if the arrays' values are invalid."""


def median_of(x: np.ndarray) -> float:
    return 2 * float(np.median(x / 2))


def mean_and_deviation(x: np.ndarray) -> tuple[float, float]:
    """Return the mean and the population standard deviation, without overflow or underflow."""
    largest = np.abs(x).max()
    if largest == 0:
        return 0.0, 1.0
    scaled = x / largest
    deviation = float(scaled.std() * largest)
    return float(scaled.mean() * largest), deviation or float(largest)


def bounded_product(x: Numbers, center: Any, factor: Any) -> Numbers:
    """Return (x - center) * factor, clipped at `LARGEST`, in a new array."""
    with np.errstate(over="ignore"):
        z = x - center
        z *= factor
    return np.clip(z, -LARGEST, LARGEST, out=z)


def bounded(number: float, center: float, factor: float) -> float:
    """Return (number - center) * factor, clipped at +-`LARGEST`."""
    return min(max((number - center) * factor, -LARGEST), LARGEST)
