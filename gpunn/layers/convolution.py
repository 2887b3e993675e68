"""Convolution of images and of signals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from gpunn.activations import Activation
from gpunn.backends.windows import Window
from gpunn.configurable import choice, flag, integer
from gpunn.errors import ArgumentError
from gpunn.initializers import Initializer
from gpunn.layers.base import Layer, operations_only
from gpunn.layers.dense import resolve_parts, weights_and_biases
from gpunn.layers.windows import PADDINGS, as_images, as_sizes, image_buffer, windowed
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace


@dataclass(eq=False)
class Convolution(Layer):
    """Base class of `Conv1D` and `Conv2D`, which differ in the number of axes.

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int or tuple of int
        Size of a patch along each axis; one integer is used for all axes.
    strides : int or tuple of int
        Distance between neighboring patches along each axis, in pixels or positions.
    padding : {"valid", "same"}
        With "valid", all patches are within the image or signal. With "same", zeros surround
        it; the output then has ceil(size / stride) pixels or positions along each axis.
    dilation_rate : int or tuple of int
        Distance between neighboring pixels or positions of a patch, along each axis.
    groups : int
        Number of groups into which both channels and filters are divided. A group's filters read
        only the group's channels. If each channel is a group, the convolution is depthwise.
    activation : str, Activation or mapping
        The function f, such as "relu".
    bias : bool
        Whether the layer adds b.
    initializer, bias_initializer : str, Initializer or mapping
        Initial values of W and b, as in `Dense`, with the size of a patch as the number of inputs.
    """

    filters: int
    kernel_size: int | tuple[int, ...]
    strides: int | tuple[int, ...] = 1
    padding: str = choice("valid", PADDINGS)
    dilation_rate: int | tuple[int, ...] = 1
    groups: int = integer(1)
    activation: str | Activation = "identity"
    bias: bool = flag(True)
    initializer: str | Initializer = "auto"
    bias_initializer: str | Initializer = "auto"

    axes: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_integer("filters")
        for name in ("kernel_size", "strides", "dilation_rate"):
            setattr(self, name, as_sizes(name, getattr(self, name), self.axes))
        if self.filters % self.groups:
            raise ArgumentError(
                f"groups: expected a divisor of filters={self.filters}; got {self.groups}"
            )
        self.f = resolve_parts(self)

    def _window(self, input_shape: Shape) -> tuple[Window, Shape]:
        return windowed(self, input_shape, "kernel_size", self.dilation_rate)  # type: ignore[arg-type]

    def output_shape(self, input_shape: Shape) -> Shape:
        _, sizes = self._window(input_shape)
        *_, channels = input_shape
        if channels % self.groups:
            raise ArgumentError(
                f"{self.name}: groups={self.groups} must divide the number of channels, but rows "
                f"of shape {input_shape} have {channels} channels"
            )
        return (*sizes[-self.axes :], self.filters)

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        self.output_shape(input_shape)  # checks the channels
        patch = math.prod(self.kernel_size) * input_shape[-1] // self.groups  # type: ignore[arg-type]
        return weights_and_biases(self, patch, self.filters)

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        (window, _), shape = self._window(x.shape[1:]), self.output_shape(x.shape[1:])
        y = z = image_buffer(self, "preactivation", x.shape[0], shape, workspace)
        if not self.f.from_output:
            y = image_buffer(self, "output", x.shape[0], shape, workspace)
        W, b = self.values["weights"], self.values.get("biases")
        images = as_images(self, x, workspace)
        workspace.backend.convolve(images, W, b, self.f, window, z[1], y[1])
        return y[0]

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        rows, (window, _) = x.shape[0], self._window(x.shape[1:])
        _, z = image_buffer(self, "preactivation", rows, y.shape[1:], workspace)
        ops, images = workspace.backend, as_images(self, x, workspace)
        dz = as_images(self, gradient, workspace)  # in: dL/dy; out: dL/dz = dL/dy * f'(z)
        db, dW, dx = self.gradients.get("biases"), self.gradients.get("weights"), None
        ops.activation_gradient(self.f, z, as_images(self, y, workspace), dz, db)
        if dW is not None:
            ops.convolution_weights(images, dz, window, dW)
        if wants_input_gradient:
            dx, dx_images = image_buffer(self, "input_gradient", rows, x.shape[1:], workspace)
            ops.convolution_inputs(dz, self.values["weights"], window, dx_images)
        return gradient if dx is None else dx


@dataclass(eq=False)
class Conv2D(Convolution):
    """Convolution of images: each output pixel is f(patch W + b), with the same W everywhere.

    A row has shape (height, width, channels), as in Keras. The patch of an output pixel is a small
    rectangle of input pixels. With strides s and dilation d, the formula is::

        z[i, j, u] = b[u] + sum over k, l, c of x[i s + k d, j s + l d, c] W[(k, l, c), u]
        y = f(z)

    The indices k and l run over the height and width of the patch, and c over the channels. W is
    the parameter "weights" of shape (kernel height * kernel width * channels / groups, filters).
    The rows of W are ordered by k, then by l, then by c. b is the parameter "biases". For each
    patch, the chain rule of `Dense` holds; the gradients add up over all patches::

        dL/dz = dL/dy * f'(z)
        dL/dW[(k, l, c), u] = sum over rows, i, j of x[i s + k d, j s + l d, c] dL/dz[i, j, u]
        dL/db = sum over rows, i, j of dL/dz
        dL/dx[i s + k d, j s + l d, c] += sum over u of dL/dz[i, j, u] W[(k, l, c), u]

    (LeCun et al. 1989, "Backpropagation Applied to Handwritten Zip Code Recognition"; Dumoulin &
    Visin 2016, arXiv 1603.07285, for the arithmetic of shapes.)

    Examples
    --------
    >>> edges = gpunn.layers.Conv2D(1, kernel_size=(1, 2), bias=False)
    >>> model = gpunn.Sequential([edges], (2, 3, 1), backend="numpy")
    >>> edges.values["weights"][...] = [[-1], [1]]
    >>> model.predict([[[[0], [0], [5]], [[1], [3], [3]]]])[0, :, :, 0].tolist()
    [[0.0, 5.0], [2.0, 0.0]]
    """

    name = "conv_2d"
    axes = 2


@dataclass(eq=False)
class Conv1D(Convolution):
    """Convolution along one axis, such as the time of a signal.

    A row has shape (length, channels), as in Keras. The formula and the chain rule are the same as
    in `Conv2D` for images of height 1.

    Examples
    --------
    >>> mean = gpunn.layers.Conv1D(1, kernel_size=2, bias=False)
    >>> model = gpunn.Sequential([mean], (4, 1), backend="numpy")
    >>> mean.values["weights"][...] = 0.5
    >>> model.predict([[[1], [3], [5], [9]]])[0, :, 0].tolist()
    [2.0, 4.0, 7.0]
    """

    name = "conv_1d"
    axes = 1
