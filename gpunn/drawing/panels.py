"""The panels of a history. A panel has the points of a metric's curves, and the axes' ticks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpunn.display import title_of
from gpunn.monitor import NOT_METRICS, VALIDATION

POINTS = 400
"""Maximum number of points of a curve. If there are more epochs, evenly spaced epochs are drawn."""

LARGEST = 1e150
"""Values above this limit are skipped, because they would flatten the rest of the curve."""

SMALLEST = 1e-290


@dataclass(frozen=True)
class Panel:
    """A metric's curves, without NaN and infinity. `ends` has each curve's last value, even NaN."""

    title: str
    training: list[tuple[float, float]]
    validation: list[tuple[float, float]]
    ends: Mapping[str, float] = field(default_factory=dict)

    @property
    def x_range(self) -> tuple[float, float]:
        x = [x for x, _ in (*self.training, *self.validation)] or [1.0]
        return min(x), max(x)

    @property
    def y_range(self) -> tuple[float, float]:
        y = [y for _, y in (*self.training, *self.validation)] or [0.0]
        low, high = min(y), max(y)
        if high - low > max(SMALLEST, 1e-9 * max(abs(low), abs(high))):
            return low, high
        spread = 0.1 * abs(low) if abs(low) > SMALLEST else 1.0
        return low - spread, high + spread

    def ticks(self, maximum: int) -> dict[float, str]:
        low, high = self.y_range
        power = 10.0 ** math.floor(math.log10((high - low) / maximum))
        for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
            first, last = math.ceil(low / step), math.floor(high / step)
            if last - first < maximum:
                return labeled([number * step for number in range(first, last + 1)], step)
        return {}

    @property
    def last(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self.ends.items())


def labeled(numbers: Sequence[float], step: float) -> dict[float, str]:
    """Map each number to a label, with an error of at most 1 % of `step`.

    All numbers are rounded to the same number of significant digits, at least four.

    >>> labeled([0.0, 0.1, 0.2], 0.1)
    {0.0: '0', 0.1: '0.1', 0.2: '0.2'}
    >>> labeled([1.00001, 1.000015], 5e-6)
    {1.00001: '1.00001', 1.000015: '1.000015'}
    """
    for digits in range(4, 18):
        texts = {number: f"{number:.{digits}g}" for number in numbers}
        if all(abs(float(text) - number) <= 0.01 * step for number, text in texts.items()):
            break
    return texts


def panels(rows: Sequence[Mapping[str, float]], names: Sequence[str] = ()) -> list[Panel]:
    logged = dict.fromkeys(name.removeprefix(VALIDATION) for row in rows[-1:] for name in row)
    chosen = names or [name for name in logged if name not in NOT_METRICS]
    step = max(1, math.ceil(len(rows) / (POINTS - 1)))
    shown = [*rows[:1], *rows[:0:-step][::-1]]
    last = {key: value for row in shown for key, value in row.items()}

    def points(name: str) -> list[tuple[float, float]]:
        return [
            (row["epoch"], row[name]) for row in shown if abs(row.get(name, math.nan)) <= LARGEST
        ]

    def panel(name: str) -> Panel:
        keys = {"training": name, "validation": f"{VALIDATION}{name}"}
        ends = {part: last[key] for part, key in keys.items() if key in last}
        training, validation = map(points, keys.values())
        return Panel(title_of(name), training, validation, ends)

    return [panel(name) for name in chosen]
