"""Errors of layers whose windows do not fit into the rows say which sizes would fit."""

import pytest

from gpunn import Sequential
from gpunn.errors import ArgumentError
from gpunn.layers import Conv1D, Conv2D, MaxPool1D, MaxPool2D


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Conv2D(2, 7), (6, 5, 1), r"kernel_size=7 covers 7 .* use at most \(6, 5\), or pad"),
        (Conv2D(2, (1, 3), dilation_rate=2), (8, 4, 1), r"dilation 2, .* use at most \(4, 2\)"),
        (MaxPool2D(3), (2, 2, 1), r"pool_size=3 covers 3 pixels, .* only 2; use at most 2, or pad"),
        (MaxPool1D(9), (8, 1), "use at most 8, or padding='same'"),
        (Conv2D(2, 3), (6, 5), r"\(height, width, channels\); got .* add an axis: X"),
        (Conv1D(2, 3), (6,), r"\(length, channels\); got .* add an axis: X"),
        (Conv2D(2, 1, groups=2), (6, 5, 1), "groups=2 must divide the number of channels, .* 1 ch"),
        (Conv1D(2, 3), (6, 5, 1), r"\(length, channels\); got rows of shape \(6, 5, 1\)\n"),
    ],
)
def test_windows_that_do_not_fit(layer, shape, message):
    with pytest.raises(ArgumentError, match=message):
        Sequential([layer], shape, "numpy")
