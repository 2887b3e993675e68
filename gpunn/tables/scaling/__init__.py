"""Scales of number columns: what is learned of a column, and its numbers on that scale.

Each is a module: statistics, numbers by NumPy, in plain Python, in ONNX and in C.
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
