"""Filling in missing values: a number becomes the median of the training rows.

Exported Python and C do the same in `gpunn.tables.encoders.numeric`. A missing category has the
code 0: see `gpunn.tables.encoders.category`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn.tables.onnx_nodes import Value, where

__all__ = ["fill_in", "filled_in_onnx", "median_of"]


def median_of(x: np.ndarray) -> float:
    """Return the median of a column of the training rows."""
    return 2 * float(np.median(x / 2))  # the mean of two large numbers must not overflow


def fill_in(numbers: np.ndarray, missing: np.ndarray, median: float) -> None:
    """Replace the missing numbers of a column by its median, in place."""
    numbers[missing] = median


def filled_in_onnx(numbers: Value, missing: Value, medians: np.ndarray) -> Any:
    """Return columns (rows, columns) of an ONNX graph, with their medians for missing numbers."""
    return where(missing, medians, numbers)
