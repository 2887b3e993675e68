"""Find the pixels that windows read along one axis of an image."""

import numpy as np

from gpunn.backends.windows import Window
from gpunn.typing import HostArray


def read_by(window: Window, axis: int, count: int) -> HostArray:
    """Return an array (windows, pixels) of the positions that `count` windows read."""
    starts = np.arange(count) * window.strides[axis] - window.padding[axis]
    return starts[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis]


def readers_of(window: Window, axis: int, size: int) -> HostArray:
    """Return an array (positions, pixels) of the windows that read each position as each pixel.

    If there is none, the number is -1.
    """
    from_start = np.arange(size)[:, None] + window.padding[axis]
    distances = from_start - np.arange(window.kernel[axis]) * window.dilation[axis]
    stride = window.strides[axis]
    return np.where(distances % stride == 0, distances // stride, -1)


def inside(positions: HostArray, size: int) -> HostArray:
    """Return the part of each window that is in an image with `size` pixels along the axis.

    The result has three numbers for each window: the first position in the image, the number of
    positions in the image, and the first position's index in the window.
    """
    valid = (positions >= 0) & (positions < size)
    first = valid.argmax(axis=1)
    starts = positions[np.arange(len(first)), first]
    return np.stack((starts, valid.sum(axis=1), first), axis=1).astype(np.int64)
