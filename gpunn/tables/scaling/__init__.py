"""Scalings of number columns for NumPy, plain Python and ONNX; for C, see `c_rows.h`."""

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
