"""Scalings of number columns: the statistics of a column, and its scaled numbers.

Each scaling has a module with its formula for NumPy, plain Python and ONNX; `c_rows.h` contains the
C functions.
"""

from __future__ import annotations

from gpunn.tables.scaling.base import Scaling
from gpunn.tables.scaling.none import NoScaling
from gpunn.tables.scaling.quantile import QuantileScaling
from gpunn.tables.scaling.robust import RobustScaling
from gpunn.tables.scaling.standard import StandardScaling

__all__ = [
    "SCALINGS",
    "NoScaling",
    "QuantileScaling",
    "RobustScaling",
    "Scaling",
    "StandardScaling",
]

SCALINGS: dict[str, type[Scaling]] = {
    each.name: each for each in (RobustScaling, QuantileScaling, StandardScaling, NoScaling)
}
