"""Numbers without scaling."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.tables.scaling.base import Entries, Numbers, Scaling, median_of


def unscaled(number: float, scale: dict[str, Any]) -> float:
    return number


@dataclass(frozen=True, eq=False)
class NoScaling(Scaling):
    name = "none"
    number = staticmethod(unscaled)

    @staticmethod
    def statistics(x: np.ndarray, rows: int) -> Entries:
        return (median_of(x),)

    def transform(self, x: Numbers, columns: np.ndarray | slice) -> Numbers:
        return x
