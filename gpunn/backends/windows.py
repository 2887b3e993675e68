"""Windows: the parts of images that convolutions and pooling read."""

from collections.abc import Iterator
from dataclasses import dataclass

from gpunn.typing import Array, Namespace, Shape


@dataclass(frozen=True)
class Window:
    """A rectangle of kernel height by kernel width pixels that moves over an image.

    All pairs are (along the height, along the width). For k < kernel[0] and l < kernel[1], output
    pixel (i, j) reads this input pixel::

        i * strides[0] - padding[0] + k * dilation[0], j * strides[1] - padding[1] + l * dilation[1]

    The arrays' shapes determine the padding at the bottom and at the right.
    """

    kernel: Shape
    strides: Shape = (1, 1)
    padding: Shape = (0, 0)
    """Rows of padding above the image, and columns of padding on the left of the image."""
    dilation: Shape = (1, 1)

    def padded(self, xp: Namespace, x: Array, out: Shape, value: float) -> Array:
        rows, height, width, channels = x.shape
        (top, left), (needed_height, needed_width) = self.padding, self.span(out)
        if (top, left) == (0, 0) and needed_height <= height and needed_width <= width:
            return x
        shape = rows, max(needed_height, top + height), max(needed_width, left + width), channels
        result = xp.full(shape, value, dtype=x.dtype, device=x.device)
        result[:, top : top + height, left : left + width, :] = x
        return result

    def span(self, out: Shape) -> Shape:
        """Return the height and width of the padded image that an output of shape `out` reads."""
        return tuple(
            (size - 1) * stride + (kernel - 1) * dilation + 1
            for size, stride, kernel, dilation in zip(
                out[1:3], self.strides, self.kernel, self.dilation, strict=True
            )
        )

    def taps(self, out: Shape) -> Iterator[tuple[slice, slice, slice, slice]]:
        """For each (k, j) in a window, yield slices that select pixel (k, j) of every window."""
        whole = slice(None)
        (_, rows, columns, _), (down, right) = out, self.strides
        for k in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                top, left = k * self.dilation[0], j * self.dilation[1]
                vertical = slice(top, top + (rows - 1) * down + 1, down)
                yield whole, vertical, slice(left, left + (columns - 1) * right + 1, right), whole

    def inside(self, image: Array, shape: Shape) -> Array:
        (top, left), (_, height, width, _) = self.padding, shape
        return image[:, top : top + height, left : left + width, :]


def groups_of(channels: int, weights: Array, window: Window) -> int:
    return channels * window.kernel[0] * window.kernel[1] // int(weights.shape[0])


def is_depthwise(channels: int, weights: Array, window: Window) -> bool:
    return channels > 1 and weights.shape == (window.kernel[0] * window.kernel[1], channels)
