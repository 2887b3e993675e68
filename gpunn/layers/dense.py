"""The fully connected layer and its neurons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.activations import SELU, Activation, Identity, LeakyReLU, ReLU, ReLU6
from gpunn.configurable import choice, flag, resolve
from gpunn.initializers import (
    FanIn,
    GlorotFanInMean,
    GlorotOrFanIn,
    Initializer,
    LeCun,
    Normal,
    Uniform,
    Zeros,
)
from gpunn.layers.base import Layer, only_vectors, operations_only
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

PARAMETRIZATIONS = ("standard", "ntp")


@dataclass(eq=False)
class Dense(Layer):
    """Fully connected layer: y = f(x W + b).

    W has shape (inputs, units) and is the parameter "weights". b has shape (units,) and is the
    parameter "biases". With z = x W + b, of shape (rows, units), the chain rule is::

        dL/dz = dL/dy * f'(z)
        dL/dW = x^T dL/dz
        dL/db = sum over rows of dL/dz
        dL/dx = dL/dz W^T

    With "ntp", replace W in the equations above by V = W / sqrt(inputs). Then dL/dW = dL/dV /
    sqrt(inputs).

    Parameters
    ----------
    units : int
        Number of neurons, which is the number of outputs.
    activation : str, Activation or mapping
        The function f, such as "relu".
    bias : bool
        Whether the layer adds b.
    initializer : str, Initializer or mapping
        Initial values of W. "auto" is N(0, 1) with "ntp". Without "ntp", "auto" is
        `GlorotFanInMean` for ReLU, ReLU6 and leaky ReLU, `LeCun` for SELU (Klambauer et al. 2017),
        and `FanIn` without an activation, as in most last layers. For all other activations, "auto"
        is `GlorotOrFanIn`. docs/explanation/architecture.md explains this choice.
    bias_initializer : str, Initializer or mapping
        Initial values of b. "auto" is U(-1/sqrt(inputs), 1/sqrt(inputs)), as in PyTorch's
        `nn.Linear`, but zeros for SELU, and N(0, 1) with "ntp".
    parametrization : {"standard", "ntp"}
        "ntp" divides x W by sqrt(inputs) (Jacot et al. 2018, "Neural Tangent Kernel"). Then one
        learning rate suits layers of all widths.

    Examples
    --------
    >>> dense = gpunn.layers.Dense(2, activation="relu")
    >>> model = gpunn.Sequential([dense], 3, backend="numpy")
    >>> dense.values["weights"][...] = [[1, -1], [0, 2], [1, 0]]
    >>> dense.values["biases"][...] = [0.5, -4]
    >>> model.predict([[1.0, 2.0, 3.0]]).tolist()
    [[4.5, 0.0]]
    """

    units: int
    activation: str | Activation = "identity"
    bias: bool = flag(True)
    initializer: str | Initializer = "auto"
    bias_initializer: str | Initializer = "auto"
    parametrization: str = choice("standard", PARAMETRIZATIONS)

    name = "dense"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_integer("units")
        self.f = resolve_parts(self, ntp=self.parametrization == "ntp")

    def output_shape(self, input_shape: Shape) -> Shape:
        only_vectors(self, input_shape)
        return (self.units,)

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        return weights_and_biases(self, input_shape[0], self.units)

    def config(self) -> dict[str, Any]:
        described = super().config()
        if self.parametrization == "standard":
            del described["parametrization"]  # so that earlier releases can read the file
        return described

    @property
    def neurons(self) -> list[Neuron]:
        """The layer's neurons, as live views of W's columns and b's elements."""
        return [Neuron(self, index) for index in range(self.units)]

    def weight_factor(self, inputs: int) -> float:
        """Return the factor by which x W is multiplied.

        Parameters
        ----------
        inputs : int
            Number of inputs.

        Returns
        -------
        float
            1, or 1 / sqrt(inputs) with "ntp".
        """
        return 1 / math.sqrt(inputs) if self.parametrization == "ntp" else 1.0

    def linear(self, x: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
        product: np.ndarray = x @ values["weights"]
        return self.weight_factor(x.shape[1]) * product

    def _factored_weights(self, workspace: Workspace) -> Array:
        """Return W. With the parametrization "ntp", return the buffer for W / sqrt(inputs)."""
        W = self.values["weights"]
        ntp = self.parametrization == "ntp"
        return workspace.fixed(self, "factored weights", W.shape) if ntp else W

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        ops, rows = workspace.backend, x.shape[0]
        W, V = self.values["weights"], self._factored_weights(workspace)
        if V is not W:
            ops.rescale(W, self.weight_factor(W.shape[0]), 0.0, V)
        z = workspace.rows(self, "preactivation", rows, (self.units,))
        # If f'(z) is a function of f(z), f overwrites z, which is not needed again.
        a = z if self.f.from_output else workspace.rows(self, "output", rows, (self.units,))
        ops.dense(x, V, self.values.get("biases"), self.f, z, a)
        return a

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        ops, rows = workspace.backend, x.shape[0]
        z = workspace.rows(self, "preactivation", rows, (self.units,))
        dW, input_gradient = self.gradients.get("weights"), None
        if wants_input_gradient:
            input_gradient = workspace.rows(self, "input_gradient", rows, x.shape[1:])
        ops.dense_gradient(
            x,
            self._factored_weights(workspace),
            self.f,
            z,
            y,
            gradient,  # in: dL/dy; out: dL/dz = dL/dy * f'(z)
            dW,  # dL/dW = x^T dL/dz, or None for a frozen layer
            self.gradients.get("biases"),  # dL/db = sum over rows of dL/dz
            input_gradient,  # dL/dx = dL/dz W^T, or None if no earlier layer is trained
        )
        if self.parametrization == "ntp" and dW is not None:
            ops.rescale(dW, self.weight_factor(x.shape[1]), 0.0, dW)
        return gradient if input_gradient is None else input_gradient


def resolve_parts(layer: Any, ntp: bool = False) -> Activation:
    layer.activation = f = resolve(Activation, layer.activation, "activation")
    if layer.initializer == "auto":
        layer.initializer = Normal(1.0) if ntp else default_initializer(f)
    layer.initializer = resolve(Initializer, layer.initializer, "initializer")
    # In other cases, "auto" depends on the number of inputs.
    if layer.bias_initializer == "auto" and (ntp or isinstance(f, SELU)):
        layer.bias_initializer = Normal(1.0) if ntp else Zeros()
    if layer.bias_initializer != "auto":
        layer.bias_initializer = resolve(Initializer, layer.bias_initializer, "bias_initializer")
    return f


def weights_and_biases(layer: Any, inputs: int, units: int) -> list[ParameterSpec]:
    bias_initializer = layer.bias_initializer
    if bias_initializer == "auto":
        bias_initializer = Uniform(1 / math.sqrt(inputs))
    W = ParameterSpec("weights", (inputs, units), layer.initializer)
    b = ParameterSpec("biases", (units,), bias_initializer, decay=False)
    return [W, b] if layer.bias else [W]


def default_initializer(activation: Activation) -> Initializer:
    if isinstance(activation, SELU):
        return LeCun()
    if isinstance(activation, Identity):
        return FanIn()
    if isinstance(activation, (ReLU, LeakyReLU, ReLU6)):
        return GlorotFanInMean()
    return GlorotOrFanIn()


class Neuron:
    """One neuron of a dense layer: a = f(w . x + b).

    Parameters
    ----------
    layer : Dense
        A dense layer that belongs to a network.
    index : int
        Index of the unit, from 0.

    Attributes
    ----------
    weights : array, shape (inputs, 1)
        A live view of the unit's weights: changing an entry changes the network.
    bias : array of shape (1, 1), or None
        A live view of the unit's bias, or None if the layer has no biases.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="numpy")
    >>> neuron = model.layers[0].neurons[1]
    >>> neuron
    Neuron(3 inputs)
    >>> neuron.weights[0] = 0.5
    >>> float(model.layers[0].values["weights"][0, 1])
    0.5
    """

    def __init__(self, layer: Dense, index: int) -> None:
        weights = layer.values["weights"]
        self.weights: Array = weights[:, index : index + 1]
        self.bias: Array | None = None
        if layer.bias:
            self.bias = layer.values["biases"][None, index : index + 1]

    def __repr__(self) -> str:
        return f"Neuron({self.weights.shape[0]} inputs)"
