"""Layers that learn one number per feature: a scale, or the strength of an activation."""

from __future__ import annotations

from dataclasses import dataclass

from gpunn import activations
from gpunn.configurable import resolve
from gpunn.initializers import Ones
from gpunn.layers.base import Layer, operations_only
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace


@dataclass(eq=False)
class Scale(Layer):
    """Learned factors of the features: y = s * x, where s has the shape of a row and starts at 1.

    RealMLP (Holzmüller et al. 2024, "Better by Default") uses this layer before the first dense
    layer, with a higher learning rate, to softly select features. The chain rule is::

        dL/ds = sum over rows of dL/dy * x
        dL/dx = s * dL/dy

    Examples
    --------
    >>> layer = gpunn.layers.Scale(learning_rate_factor=6.0)
    >>> model = gpunn.Sequential([layer], 2, backend="numpy")
    >>> layer.values["factors"][...] = [2.0, 0.0]
    >>> model.predict([[1.0, 5.0]]).tolist()
    [[2.0, 0.0]]
    """

    name = "scale"

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        return [ParameterSpec("factors", input_shape, Ones(), decay=False)]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.scale(x[:, None, ...], self.values["factors"][None, ...], y[:, None, ...])
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        factors = self.values["factors"]
        trained = self.gradients.get("factors")
        if trained is None:  # the operation needs a buffer even for the gradient of frozen factors
            trained = workspace.fixed(self, "gradient of frozen factors", factors.shape)
        in_place = gradient[:, None, ...]  # in: dL/dy; out: dL/dx
        workspace.backend.scale_gradient(
            x[:, None, ...],
            factors[None, ...],
            in_place,
            trained[None, ...],
            in_place if wants_input_gradient else None,
        )
        return gradient


@dataclass(eq=False)
class ParametricActivation(Layer):
    """Activation with a learned strength for each feature: y = x + alpha * (f(x) - x).

    alpha starts at 1, which gives y = f(x) (RealMLP, Holzmüller et al. 2024, "Better by Default").
    The chain rule is::

        dL/dalpha = sum over rows of dL/dy * (f(x) - x)
        dL/dx = dL/dy * (1 + alpha * (f'(x) - 1))

    Parameters
    ----------
    activation : str, Activation or mapping
        The function f.

    Examples
    --------
    >>> layer = gpunn.layers.ParametricActivation("relu")
    >>> model = gpunn.Sequential([layer], 2, backend="numpy")
    >>> layer.values["alpha"][...] = [1.0, 0.5]
    >>> model.predict([[-2.0, -2.0]]).tolist()
    [[0.0, -1.0]]
    """

    activation: str | activations.Activation = "selu"

    name = "parametric_activation"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.f = self.activation = resolve(activations.Activation, self.activation, "activation")

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        return [ParameterSpec("alpha", input_shape, Ones(), decay=False)]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.parametric_activate(self.f, x, self.values["alpha"], y)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        workspace.backend.parametric_activation_gradient(
            self.f,
            x,
            self.values["alpha"],
            gradient,  # in: dL/dy; out: dL/dx
            self.gradients["alpha"],
        )
        return gradient
