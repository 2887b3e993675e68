"""What a layer is.

A layer is a function y = f(x) of a batch whose first axis is the rows (samples), and the chain
rule for it: `backward` turns dL/dy into dL/dx and leaves dL/d(parameter) in `self.gradients`. It
computes with the operations of `workspace.backend` or with plain array-API functions
(`workspace.backend.xp`) and keeps no arrays of its own but views of the network's parameters.

A new layer is a dataclass:

>>> from dataclasses import dataclass
>>> @dataclass(eq=False)
... class Halve(Layer):
...     name = "halve"
...
...     def forward(self, x, workspace):
...         y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
...         y[...] = 0.5 * x
...         return y
...
...     def backward(self, x, y, gradient, workspace, wants_input_gradient):
...         gradient *= 0.5
...         return gradient
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from gpunn.attributes import fixed_attribute, unknown_attribute
from gpunn.configurable import Configurable
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.parameters import ParameterSpec
from gpunn.randomness import generator
from gpunn.typing import Array, HostArray, Shape
from gpunn.workspace import Workspace

__all__ = ["Layer", "operations_only"]

F = TypeVar("F", bound=Callable[..., Any])


def operations_only(method: F) -> F:
    """Mark a `forward` or `backward` that computes by operations of the backend alone.

    Such a method is called once, and its operations are recorded: what it computes otherwise, by
    functions of `xp` or arithmetic on arrays, would be lost. Others are called in every step.
    """
    method.operations_only = True  # type: ignore[attr-defined]
    return method


@dataclass(eq=False)
class Layer(Configurable):
    """Base of all layers.

    Attributes
    ----------
    label : str
        Name within the network, such as "dense_1"; given by the network unless set.
    values, gradients : mapping of str to array
        Live views of this layer's parameters and their gradients, given by the network.
    key : int
        A 32-bit number for this layer's random masks, given by the network.
    takes_integers : bool
        Whether x may be of an integer type, such as the uint8 pixels that `Rescaling` takes.
    learns_from_inputs : bool
        Whether `fit_inputs` has something to take from the training inputs.
    """

    beside_fields = frozenset(("values", "gradients", "key", "f"))
    takes_integers: ClassVar[bool] = False
    learns_from_inputs: ClassVar[bool] = False

    label: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.label, str):
            raise ArgumentTypeError(f"label: expected a string; got {self.label!r}")
        if type(self).__hash__ is None:
            raise ArgumentTypeError(
                f"{type(self).__name__}: two layers are never the same; define the class with "
                "@dataclass(eq=False)"
            )
        self.values: Mapping[str, Array] = {}
        self.gradients: Mapping[str, Array] = {}
        self.key = 0

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless that would be without effect or tear the network apart.

        In a network, numbers such as a rate of dropout may change; what shapes, parameters and
        activations were made from may not.
        """
        if name == "trainable" and not hasattr(type(self), name):
            raise unknown_attribute(self, name, ())
        own, here = type(self).__module__.startswith("gpunn."), vars(self)
        in_network = own and (here.get("values") or here.get("key"))
        settled = name == "f" or (
            name in self.__dataclass_fields__ and not isinstance(here.get(name), float)
        )
        if in_network and settled:
            raise fixed_attribute(self, name)
        super().__setattr__(name, value)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of one row of the output, from that of the input.

        Raises
        ------
        ArgumentError
            If the layer can't take such an input.
        """
        return input_shape

    def children(self) -> Mapping[str, Layer]:
        """Return the layers that this one consists of or contains, by their labels."""
        return {}

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        """Declare this layer's parameters.

        Those of its children, by names such as "dense_1.weights", if it does not say otherwise;
        the children are taken to have its own input.
        """
        return [
            replace(spec, name=f"{label}.{spec.name}")
            for label, child in self.children().items()
            for spec in child.parameters(input_shape)
        ]

    def attach(self, values: Mapping[str, Array], gradients: Mapping[str, Array], key: int) -> None:
        """Take the views of the parameters; called once, by the network."""
        self.values, self.gradients, self.key = values, gradients, key
        for index, (label, child) in enumerate(self.children().items()):
            below = int(generator(key, "dropout", index).integers(2**32))
            child.attach(within(values, label), within(gradients, label), below)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made from, which belongs to no network yet."""
        return {**vars(self), "values": {}, "gradients": {}, "key": 0}

    def fit_inputs(
        self, X: HostArray, numbers: np.ndarray | None = None, dtype: str = "float32"
    ) -> Mapping[str, np.ndarray]:
        """Return values for parameters that are taken from the training inputs, before training.

        Parameters
        ----------
        X : array, shape (rows, *input shape)
            On the host; it may be a memory map larger than the memory.
        numbers : array of int64 or None
            Which rows are training rows; None is all of them.
        dtype : {"float32", "float64"}
            The network's type, which the values have to fit.
        """
        return {}

    def forward(self, x: Array, workspace: Workspace) -> Array:
        """Return y = f(x), in a buffer of the workspace."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(
        self,
        x: Array,
        y: Array,
        gradient: Array,
        workspace: Workspace,
        wants_input_gradient: bool,
    ) -> Array:
        """Return dL/dx from dL/dy, and set `self.gradients`.

        Parameters
        ----------
        x, y : array
            What `forward` took and returned.
        gradient : array
            dL/dy. This layer may overwrite it.
        workspace : Workspace
            The one of the forward pass.
        wants_input_gradient : bool
            False if nobody will look at dL/dx, so that it need not be computed.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    def config(self) -> dict[str, Any]:
        """Return the layer's parameters in plain types."""
        described = super().config()
        if not self.label:
            del described["label"]
        return described


def within(arrays: Mapping[str, Array], label: str) -> dict[str, Array]:
    """Return the arrays of the child with this label, by the child's own names."""
    prefix = f"{label}."
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def only_vectors(layer: Layer, input_shape: Shape) -> int:
    """Return the number of features, or raise if a row is not a vector."""
    if len(input_shape) != 1:
        raise ArgumentError(
            f"{layer.name}: expected rows that are vectors, shape (features,); got rows of shape "
            f"{input_shape}. Put gpunn.layers.Flatten() in front"
        )
    return input_shape[0]
