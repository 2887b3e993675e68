"""Elementwise layers (activations, dropout, rescaling), and flattening."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gpunn import activations
from gpunn.configurable import check_fraction, number, resolve
from gpunn.errors import ArgumentError
from gpunn.initializers import Normal
from gpunn.layers.base import Layer, operations_only
from gpunn.layers.block import Block
from gpunn.layers.views import reshaped, view
from gpunn.layers.windows import as_images, image_of
from gpunn.parameters import ParameterSpec
from gpunn.schedules import Schedule, setting
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace


@dataclass(eq=False)
class Activation(Layer):
    """Activation as a separate layer: y = f(x), elementwise.

    The chain rule is dL/dx = dL/dy * f'(x). `Dense(units, activation=...)` is faster.

    Parameters
    ----------
    activation : str, Activation or mapping
        The function f.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Activation("relu")], 3, backend="numpy")
    >>> model.predict([[-1.5, 0.0, 2.0]]).tolist()
    [[0.0, 0.0, 2.0]]
    """

    activation: str | activations.Activation = "relu"

    name = "activation"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.f = self.activation = resolve(activations.Activation, self.activation, "activation")

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.activate(self.f, x, None, y)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        # In place: dL/dx = dL/dy * f'(x).
        workspace.backend.activation_gradient(self.f, x, y, gradient, None)
        return gradient


@dataclass(eq=False)
class Dropout(Layer):
    """Dropout: y = mask * x / (1 - rate) in training, and y = x in inference.

    Each entry of the mask is 0 with probability `rate`, otherwise 1. The factor 1 / (1 - rate)
    keeps the mean (Srivastava et al. 2014). The chain rule is::

        dL/dx = mask * dL/dy / (1 - rate)

    Each entry of the mask is computed from a hash of (seed, layer, pass, position). If a `Block`
    calls the layer several times, the number of the call also enters the hash. So the mask is
    the same on every backend.

    Parameters
    ----------
    rate : float or Schedule
        The probability that an entry of the mask is 0, in [0, 1).

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Dropout(0.5)], 3, backend="numpy", seed=0)
    >>> model.predict([[1.0, 2.0, 3.0]]).tolist()
    [[1.0, 2.0, 3.0]]
    """

    rate: float | Schedule = setting(0.5, check_fraction)

    name = "dropout"

    def _multiply(self, x: Array, y: Array, workspace: Workspace) -> Array:
        rate, key = workspace.setting(self, "rate"), workspace.dropout_key(self.key)
        first = workspace.first_element(x)
        workspace.backend.dropout(x, rate, key, workspace.passes, y, first)
        return y

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        if not (workspace.training and self.rate):
            return x
        return self._multiply(x, workspace.rows(self, "output", x.shape[0], x.shape[1:]), workspace)

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        if not (workspace.training and self.rate):
            return gradient
        # This is the mask of the forward pass, since key and number of the pass are the same.
        return self._multiply(gradient, gradient, workspace)


@dataclass(eq=False)
class SpatialDropout(Dropout):
    """Dropout of whole channels of images or signals: y = mask * x / (1 - rate) in training.

    A row has shape (height, width, channels) or (length, channels). The mask has one entry for each
    row and channel (Tompson et al. 2015, "Efficient Object Localization Using Convolutional
    Networks", section 3.2). The chain rule is the same as in `Dropout`.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.SpatialDropout(0.5)], (2, 1), backend="numpy")
    >>> model.predict([[[1.0], [2.0]]]).tolist()
    [[[1.0], [2.0]]]
    """

    name = "spatial_dropout"

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) not in (2, 3):
            raise ArgumentError(
                f"{self.name}: expected rows of shape (height, width, channels) or (length, "
                f"channels); got rows of shape {input_shape}. For such rows, use "
                "gpunn.layers.Dropout"
            )
        return input_shape

    def _multiply(self, x: Array, y: Array, workspace: Workspace) -> Array:
        factors = workspace.rows(self, "factors", x.shape[0], x.shape[-1:])
        workspace.backend.fill(factors, 1.0)
        super()._multiply(factors, factors, workspace)
        images = view(y, (y.shape[0], *image_of(y.shape[1:])), workspace)
        workspace.backend.multiply_channels(as_images(self, x, workspace), factors, images)
        return y


@dataclass(eq=False)
class Rescaling(Layer):
    """Multiply by a factor, and add an offset: y = scale * x + offset.

    x may have any real dtype, such as uint8; dL/dx = scale * dL/dy.

    Parameters
    ----------
    scale : float
        The factor. The default, 1 / 255, maps pixels to [0, 1].
    offset : float
        The offset, 0 by default.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Rescaling()], 3, backend="numpy")
    >>> print(model.predict(np.array([[0, 51, 255]], dtype=np.uint8)).round(3))
    [[0.  0.2 1. ]]
    """

    scale: float = number(1 / 255)
    offset: float = number(0.0)

    name = "rescaling"
    takes_integers = True

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.rescale(x, self.scale, self.offset, y)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        workspace.backend.rescale(gradient, self.scale, 0.0, gradient)  # dL/dx = scale * dL/dy
        return gradient


@dataclass(eq=False)
class Flatten(Layer):
    """Flatten rows of any shape to vectors, in row-major (C) order.

    Nothing is copied: y is a view of x, and dL/dx is a view of dL/dy.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], (2, 2), backend="numpy")
    >>> model.predict([[[1.0, 2.0], [3.0, 4.0]]]).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """

    name = "flatten"
    takes_integers = True

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        return reshaped(self, x, (x.shape[0], math.prod(x.shape[1:])), workspace)

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        return reshaped(self, gradient, x.shape, workspace)


@dataclass(eq=False)
class PReLU(Block):
    """Rectifier with a learned slope for each feature: y = max(x, 0) + slope * min(x, 0).

    From He et al. 2015, "Delving Deep into Rectifiers". As in the paper, slopes have no
    weight decay by default.

    Parameters
    ----------
    initial_slope : float
        The slopes before training, 0.25 by default.

    See Also
    --------
    ParametricActivation : Any activation with a learned strength.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.PReLU()], 2, backend="numpy")
    >>> model.predict([[-2.0, 4.0]]).tolist()
    [[-0.5, 4.0]]
    """

    initial_slope: float = number(0.25)

    name = "prelu"

    def own_parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        return [ParameterSpec("slope", input_shape, Normal(0.0, self.initial_slope), decay=False)]

    def forward(self, xp: Any, x: Any) -> Any:  # type: ignore[override]
        return xp.maximum(x, 0.0) + self.values["slope"] * xp.minimum(x, 0.0)
