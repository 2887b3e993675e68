"""Find the pixels that windows read along one axis of an image."""

import numpy as np

from gpunn.backends.windows import Window
from gpunn.typing import HostArray


def read_by(window: Window, axis: int, count: int) -> HostArray:
    """Return (count, kernel size) positions: result[w, q] is pixel q of window w along `axis`."""
    starts = np.arange(count) * window.strides[axis] - window.padding[axis]
    return starts[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis]


def readers_of(window: Window, axis: int, size: int) -> HostArray:
    """Return the indices of the windows that read each position along `axis`.

    The result has the shape (size, kernel size). Element [p, q] is the index of the window whose
    pixel q is at position p. If there is no such window, the index is negative or too large.
    """
    from_start = np.arange(size)[:, None] + window.padding[axis]
    distances = from_start - np.arange(window.kernel[axis]) * window.dilation[axis]
    stride = window.strides[axis]
    return np.where(distances % stride == 0, distances // stride, -1)


def inside(positions: HostArray, size: int) -> HostArray:
    """Return which part of each window is inside an image of `size` pixels; shape (windows, 3).

    The three numbers are the first position inside the image, the number of positions inside, and
    the index in the window of the first position inside.
    """
    valid = (positions >= 0) & (positions < size)
    first = valid.argmax(axis=1)
    starts = positions[np.arange(len(first)), first]
    return np.stack((starts, valid.sum(axis=1), first), axis=1).astype(np.int64)
