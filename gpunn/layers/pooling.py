"""Layers that change the height and width of images, or the length of signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gpunn.backends.windows import Window
from gpunn.configurable import choice
from gpunn.layers.base import Layer, operations_only
from gpunn.layers.windows import PADDINGS, as_images, as_sizes, image_buffer, image_shape, windowed
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace


class GlobalPooling(Layer):
    """Pools whole images. For smaller windows, subclasses define `_window` and `output_shape`."""

    axes: ClassVar[int]
    operation: ClassVar[str] = "average_pool"

    def _window(self, input_shape: Shape) -> tuple[Window, Shape]:
        size = image_shape(self, input_shape, self.axes)[:2]
        return Window(size, size), (1, 1)

    def output_shape(self, input_shape: Shape) -> Shape:
        return image_shape(self, input_shape, self.axes)[-1:]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        shape, (window, _) = x.shape[1:], self._window(x.shape[1:])
        y, images = image_buffer(self, "output", x.shape[0], self.output_shape(shape), workspace)
        reduce = getattr(workspace.backend, self.operation)
        reduce(as_images(self, x, workspace), window, images)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        dx, images = image_buffer(self, "input_gradient", x.shape[0], x.shape[1:], workspace)
        known = (x, y) if self.operation == "max_pool" else ()
        read = [as_images(self, each, workspace) for each in (*known, gradient)]
        differentiate = getattr(workspace.backend, f"{self.operation}_gradient")
        differentiate(*read, self._window(x.shape[1:])[0], images)
        return dx


@dataclass(eq=False)
class Pooling(GlobalPooling):
    """Base of pooling with windows.

    Parameters
    ----------
    pool_size : int or tuple of int
        Size of a window along each axis; one integer is used for all axes.
    strides : int, tuple of int or None
        Distance between neighboring windows, along each axis. None means `pool_size`.
    padding : {"valid", "same"}
        As in `Conv2D`, but the maximum and the mean ignore padding.
    """

    pool_size: int | tuple[int, ...] = 2
    strides: int | tuple[int, ...] | None = None
    padding: str = choice("valid", PADDINGS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pool_size = as_sizes("pool_size", self.pool_size, self.axes)
        strides = self.pool_size if self.strides is None else self.strides
        self.strides = as_sizes("strides", strides, self.axes)

    def _window(self, input_shape: Shape) -> tuple[Window, Shape]:
        return windowed(self, input_shape, "pool_size")

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*self._window(input_shape)[1][-self.axes :], input_shape[-1])


@dataclass(eq=False)
class MaxPool2D(Pooling):
    """Max pooling of images: the maximum of each channel in each window.

    A row has shape (height, width, channels); y[i, j, c] = max over the window of x. The chain rule
    is::

        dL/dx += dL/dy at the first of the largest numbers of each window, and 0 elsewhere

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.MaxPool2D()], (2, 4, 1), backend="numpy")
    >>> model.predict([[[[1], [5], [2], [0]], [[3], [4], [1], [7]]]])[0, :, :, 0].tolist()
    [[5.0, 7.0]]
    """

    name = "max_pool_2d"
    axes = 2
    operation = "max_pool"


@dataclass(eq=False)
class MaxPool1D(Pooling):
    """Max pooling of signals: the maximum of each channel in each window.

    A row has shape (length, channels). See `MaxPool2D` for the formula and the chain rule.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.MaxPool1D()], (4, 1), backend="numpy")
    >>> model.predict([[[1], [5], [2], [0]]])[0, :, 0].tolist()
    [5.0, 2.0]
    """

    name = "max_pool_1d"
    axes = 1
    operation = "max_pool"


@dataclass(eq=False)
class AveragePool2D(Pooling):
    """Average pooling of images: the mean of each channel in each window.

    A row has shape (height, width, channels); y[i, j, c] = mean over the window of x. As in Keras,
    the mean ignores padding. If n pixels of a window are in the image, the chain rule is dL/dx +=
    dL/dy / n at each of these pixels.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.AveragePool2D()], (2, 4, 1), backend="numpy")
    >>> model.predict([[[[1], [5], [2], [0]], [[3], [3], [1], [7]]]])[0, :, :, 0].tolist()
    [[3.0, 2.5]]
    """

    name = "average_pool_2d"
    axes = 2


@dataclass(eq=False)
class AveragePool1D(Pooling):
    """Average pooling of signals: the mean of each channel in each window.

    A row has shape (length, channels). See `AveragePool2D` for the formula and the chain rule.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.AveragePool1D()], (4, 1), backend="numpy")
    >>> model.predict([[[1], [5], [2], [0]]])[0, :, 0].tolist()
    [3.0, 1.0]
    """

    name = "average_pool_1d"
    axes = 1


@dataclass(eq=False)
class GlobalAveragePool2D(GlobalPooling):
    """Global average pooling of images: the mean of each channel over all pixels.

    A row has shape (height, width, channels), and its output is a vector: y[c] = mean over i, j of
    x[i, j, c]. The chain rule is dL/dx[i, j, c] = dL/dy[c] / (height * width). (Lin, Chen & Yan
    2013, "Network In Network", section 3.2.)

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.GlobalAveragePool2D()], (1, 2, 2), backend="numpy")
    >>> model.predict([[[[1, 0], [5, 2]]]]).tolist()
    [[3.0, 1.0]]
    """

    name = "global_average_pool_2d"
    axes = 2


@dataclass(eq=False)
class GlobalAveragePool1D(GlobalPooling):
    """Global average pooling of signals: the mean of each channel over all positions.

    A row has shape (length, channels). See `GlobalAveragePool2D` for the formula and the chain
    rule.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.GlobalAveragePool1D()], (2, 2), backend="numpy")
    >>> model.predict([[[1, 0], [5, 2]]]).tolist()
    [[3.0, 1.0]]
    """

    name = "global_average_pool_1d"
    axes = 1


@dataclass(eq=False)
class UpSampling2D(Layer):
    """Repeat each pixel of an image: y[i, j, c] = x[i // m, j // n, c] for size (m, n).

    A row has shape (height, width, channels). The chain rule is dL/dx[i, j, c] = sum of dL/dy over
    the copies of the pixel.

    Parameters
    ----------
    size : int or tuple of int
        Factors by which height and width grow; one integer is used for both.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.UpSampling2D((1, 2))], (1, 2, 1), backend="numpy")
    >>> model.predict([[[[1], [2]]]])[0, :, :, 0].tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """

    size: int | tuple[int, int] = 2

    name = "up_sampling_2d"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.size = as_sizes("size", self.size, 2)  # type: ignore[assignment]

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = image_shape(self, input_shape, 2)
        m, n = self.size  # type: ignore[misc]
        return (m * height, n * width, channels)

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], self.output_shape(x.shape[1:]))
        workspace.backend.upsample(x, y)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        dx = workspace.rows(self, "input_gradient", x.shape[0], x.shape[1:])
        m, n = self.size  # type: ignore[misc]
        workspace.backend.average_pool(gradient, Window((m, n), (m, n)), dx)
        workspace.backend.rescale(dx, float(m * n), 0.0, dx)
        return dx
