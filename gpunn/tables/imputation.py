"""Filling in missing values: a missing number becomes the median of the training rows.

In exported Python and C, `gpunn.tables.encoders.numeric` inserts the median; in ONNX,
`gpunn.interchange.onnx_rows` does. `gpunn.tables.encoders.category` gives a missing category the
code 0.
"""

from __future__ import annotations

import numpy as np


def median_of(x: np.ndarray) -> float:
    """Return the median of a column of the training rows."""
    return 2 * float(np.median(x / 2))  # the mean of two large numbers must not overflow


def fill_in(numbers: np.ndarray, missing: np.ndarray, medians: np.ndarray) -> None:
    """Replace the missing numbers of columns with their medians, in place."""
    np.copyto(numbers, medians, where=missing)
