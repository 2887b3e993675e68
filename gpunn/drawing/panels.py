"""What curves of a history are made of: a panel for each metric, and where its ticks are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpunn.display import title_of
from gpunn.monitor import TIMINGS, VALIDATION

__all__ = ["Panel", "panels"]

POINTS = 400
"""Most points of a curve; of more epochs, every so many are drawn, and the last one."""

LARGEST = 1e150
"""Larger numbers are left out, since they would flatten all others."""


@dataclass(frozen=True)
class Panel:
    """The curves of a metric, in training and validation.

    Attributes
    ----------
    title : str
    training, validation : list of (float, float)
        Epochs and finite values; empty if there are none.
    """

    title: str
    training: list[tuple[float, float]]
    validation: list[tuple[float, float]]

    @property
    def x_range(self) -> tuple[float, float]:
        """First and last epoch."""
        x = [x for x, _ in (*self.training, *self.validation)] or [1.0]
        return min(x), max(x)

    @property
    def y_range(self) -> tuple[float, float]:
        """The smallest and the largest value, never the same."""
        y = [y for _, y in (*self.training, *self.validation)] or [0.0]
        low, high = min(y), max(y)
        if high - low > 1e-9 * max(abs(low), abs(high)):
            return low, high
        spread = 0.1 * abs(low) or 1.0
        return low - spread, high + spread

    def ticks(self, most: int) -> list[float]:
        """Return at most so many round numbers within the values' range."""
        low, high = self.y_range
        power = 10.0 ** math.floor(math.log10((high - low) / most))
        for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
            first, last = math.ceil(low / step), math.floor(high / step)
            if last - first < most:
                return [number * step for number in range(first, last + 1)]
        return []

    @property
    def last(self) -> str:
        """The last values in words."""
        parts = (("training", self.training), ("validation", self.validation))
        return ", ".join(f"{name} {points[-1][1]:.4g}" for name, points in parts if points)


def panels(rows: Sequence[Mapping[str, float]], names: Sequence[str] = ()) -> list[Panel]:
    """Return a panel for each metric in the rows of a history, or for those that are named."""
    found = dict.fromkeys(name.removeprefix(VALIDATION) for row in rows[-1:] for name in row)
    chosen = names or [name for name in found if name not in ("epoch", *TIMINGS)]
    step = max(1, math.ceil(len(rows) / POINTS))
    shown = list(rows[::-step])[::-1]

    def points(name: str) -> list[tuple[float, float]]:
        return [
            (row["epoch"], row[name]) for row in shown if abs(row.get(name, math.nan)) <= LARGEST
        ]

    return [Panel(title_of(name), points(name), points(f"{VALIDATION}{name}")) for name in chosen]
