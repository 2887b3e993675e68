"""Find the pixels that windows read along one axis of an image."""

import numpy as np

from gpunn.backends.windows import Window
from gpunn.typing import HostArray


def read_by(window: Window, axis: int, count: int) -> HostArray:
    """Return the positions of each window's pixels, shape (windows, pixels)."""
    starts = np.arange(count) * window.strides[axis] - window.padding[axis]
    return starts[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis]


def readers_of(window: Window, axis: int, size: int) -> HostArray:
    """Return the window that reads position p as its pixel q, or -1; shape (positions, pixels)."""
    from_start = np.arange(size)[:, None] + window.padding[axis]
    distances = from_start - np.arange(window.kernel[axis]) * window.dilation[axis]
    stride = window.strides[axis]
    return np.where(distances % stride == 0, distances // stride, -1)


def inside(positions: HostArray, size: int) -> HostArray:
    """Return the part of each window within an image of `size` pixels, as three numbers.

    These are the first position in the image, the number of positions in the image, and the index
    of the first position in the window.
    """
    valid = (positions >= 0) & (positions < size)
    first = valid.argmax(axis=1)
    starts = positions[np.arange(len(first)), first]
    return np.stack((starts, valid.sum(axis=1), first), axis=1).astype(np.int64)
