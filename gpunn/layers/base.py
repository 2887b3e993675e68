"""What a layer is.

A layer is a function y = f(x) of a batch, whose first axis is the rows (samples), and the chain
rule of that function. `forward` computes y. `backward` takes dL/dy, returns dL/dx and writes
dL/d(parameter) into `self.gradients`, where L is the loss of the batch. Both compute with the
operations of `workspace.backend` or with plain array-API functions (`workspace.backend.xp`). A
layer keeps no arrays of its own: parameters are views of the network's, and everything else is in
buffers of the workspace.

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
...         gradient *= 0.5  # dL/dx = 0.5 dL/dy
...         return gradient
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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

    Such a method is called once, and the operations that it calls are recorded for all steps. What
    it computes in another way (functions of `xp`, arithmetic on arrays) would be missing from the
    recording. A layer with a method that lacks the mark is called in every step of training.
    """
    # The method itself, since functools.wraps copies the mark to methods that do more.
    method.operations_only = method  # type: ignore[attr-defined]
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
        A 32-bit number from which this layer's dropout masks are hashed, given by the network.
    takes_integers : bool
        Whether x may have an integer dtype, such as the uint8 pixels that `Rescaling` takes.
    adapts : bool
        Whether `adapt` learns something from the training inputs.
    """

    beside_fields = frozenset(("values", "gradients", "key", "f"))
    takes_integers: ClassVar[bool] = False
    adapts: ClassVar[bool] = False
    learns_from_inputs: ClassVar[bool] = False
    """Earlier name of `adapts`."""

    label: str = field(default="", kw_only=True)

    def __init_subclass__(cls) -> None:
        """Keep the earlier names of `adapt` and `adapts` in step with these, and the other way."""
        super().__init_subclass__()
        for name, earlier in (("adapt", "fit_inputs"), ("adapts", "learns_from_inputs")):
            own = vars(cls)
            if name in own and earlier not in own:
                setattr(cls, earlier, with_numbers(own[name]) if name == "adapt" else own[name])
            elif earlier in own and name not in own:
                setattr(cls, name, own[earlier])

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
        """Set an attribute, unless that has no effect or contradicts what has been built.

        In a network, a float such as a dropout rate may be changed. What determined the shapes,
        parameters and activations may not.
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
        """Declare this layer's parameters and buffers.

        By default those of its children, by names such as "dense_1.weights", as if each child took
        this layer's own input.
        """
        return [
            replace(spec, name=f"{label}.{spec.name}")
            for label, child in self.children().items()
            for spec in child.parameters(input_shape)
        ]

    def attach(self, values: Mapping[str, Array], gradients: Mapping[str, Array], key: int) -> None:
        """Keep the views of the parameters; called once, by the network."""
        self.values, self.gradients, self.key = values, gradients, key
        for index, (label, child) in enumerate(self.children().items()):
            child_key = int(generator(key, "dropout", index).integers(2**32))
            child.attach(within(values, label), within(gradients, label), child_key)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, which belongs to no network yet."""
        return {**vars(self), "values": {}, "gradients": {}, "key": 0}

    def adapt(
        self, X: HostArray, indices: np.ndarray | None = None, dtype: str = "float32"
    ) -> Mapping[str, np.ndarray]:
        """Return, by name, the values of buffers that are computed from the training inputs.

        Called once, before training.

        Parameters
        ----------
        X : array, shape (rows, *input shape)
            On the host. A memory map may be larger than the memory, so read it in chunks.
        indices : array of int64 or None
            The training rows; None is all of them.
        dtype : {"float32", "float64"}
            The network's dtype. The values must be representable in it.
        """
        return {}

    def fit_inputs(
        self, X: HostArray, numbers: np.ndarray | None = None, dtype: str = "float32"
    ) -> Mapping[str, np.ndarray]:
        """Earlier name of `adapt`."""
        return Layer.adapt(self, X, numbers, dtype)  # of subclasses: see `__init_subclass__`

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
            dL/dy. This layer may overwrite it, and return it as dL/dx.
        workspace : Workspace
            That of the forward pass.
        wants_input_gradient : bool
            False if dL/dx is not used, so that it need not be computed: no layer below has
            parameters.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    def config(self) -> dict[str, Any]:
        """Return the layer's arguments in JSON types."""
        described = super().config()
        if not self.label:
            del described["label"]
        return described


def with_numbers(adapt: Callable[..., Any]) -> Callable[..., Any]:
    """Return `adapt` under its earlier name, with `indices` as `numbers`."""

    def fit_inputs(
        self: Layer, X: HostArray, numbers: np.ndarray | None = None, dtype: str = "float32"
    ) -> Any:
        """Earlier name of `adapt`."""
        return adapt(self, X, numbers, dtype)

    return fit_inputs


def family(*layers: Layer) -> Iterator[Layer]:
    """Yield layers, each followed by those that it contains, at any depth."""
    for layer in layers:
        yield layer
        yield from family(*layer.children().values())


def within(arrays: Mapping[str, Array], label: str) -> dict[str, Array]:
    """Return the arrays of the child with this label, by their names within the child."""
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
