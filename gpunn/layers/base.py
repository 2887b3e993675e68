"""What a layer is.

A layer is a function y = f(x) of a batch, whose first axis is the rows (samples), and the chain
rule of that function. `forward` computes y. `backward` takes dL/dy, returns dL/dx and writes
dL/d(parameter) into `self.gradients`, where L is the loss of the batch. Both compute with the
operations of `workspace.backend` or with plain array-API functions (`workspace.backend.xp`). A
layer keeps no arrays of its own: parameters are views of the network's, and everything else is in
buffers of the workspace.

A new layer is a dataclass; `Layer` has an example.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np

from gpunn.attributes import fixed_attribute
from gpunn.configurable import Configurable, check_flag, check_number, is_built_in
from gpunn.errors import ArgumentError, ArgumentTypeError, suggest
from gpunn.parameters import LiveViews, ParameterSpec, within
from gpunn.randomness import generator
from gpunn.typing import Array, HostArray, Shape
from gpunn.workspace import Workspace

__all__ = ["Layer", "Synchronizing", "operations_only"]

F = TypeVar("F", bound=Callable[..., Any])

FACTORS = ("learning_rate_factor", "weight_decay_factor")
"""Fields of a layer that the network has built its parameters with."""

LEFT_OUT = {"label": "", "learning_rate_factor": 1.0, "trainable": True}
"""Fields that a layer's configuration leaves out, with the values at which it does."""


OF_EVERY_LAYER = """\
Other Parameters
----------------
label, learning_rate_factor, weight_decay_factor, trainable : keyword-only
    As those of every `Layer`.

"""
"""What the docstring of each of gpunn's layers has in front of its errors, or what comes then."""

NEXT_SECTION = re.compile(r"\n( *)(?:Raises|Warns|See Also|Notes|Examples)\n *-")


def operations_only(method: F) -> F:
    """Mark a `forward` or `backward` that computes by operations of the backend alone.

    Such a method is called only to record a step, and the operations that it calls are recorded for
    all steps. Placeholders stand for arrays meanwhile. What it would compute, read or write in
    another way (functions of `xp`, arithmetic on arrays) raises an `ArgumentError` that names the
    method and the line. A layer with a method that lacks the mark is called in every step of
    training.

    Parameters
    ----------
    method : function
        A layer's `forward` or `backward`.

    Returns
    -------
    function
        The same one, marked.

    Examples
    --------
    >>> import gpunn
    >>> @gpunn.layers.operations_only
    ... def forward(self, x, workspace):
    ...     y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
    ...     workspace.backend.rescale(x, 0.5, 0.0, y)
    ...     return y
    """
    # The method itself, since functools.wraps copies the mark to methods that do more.
    method.operations_only = method  # type: ignore[attr-defined]
    return method


@dataclass(eq=False)
class Layer(Configurable):
    """Base of all layers.

    Parameters
    ----------
    label : str
        Name within the network, such as "dense_1"; given by the network unless set.
    learning_rate_factor : float or mapping of str to float
        By what the learning rate is multiplied for this layer's parameters: for all of them, or by
        their names, such as {"biases": 0.1}. A layer that contains layers multiplies theirs.
    weight_decay_factor : float, mapping of str to float, or None
        By what the weight decay is multiplied. A number is for the parameters that decay by
        default; a mapping sets the factor of each parameter that it names, also of biases. None
        leaves the decay as it is. The learning rate's factor enters the decay, too: an update
        multiplies by 1 - rate factor * learning_rate * decay factor * weight_decay.
    trainable : bool
        Whether training changes this layer's parameters. A layer that is not trainable is frozen,
        with all layers within it: its parameters have no gradient, no update, no decay and no
        penalty, they don't count in the norm that gradients are clipped by, and the optimizer
        keeps nothing for them. In a network it may be set between two calls of `Trainer.fit`. The
        optimizer's state then begins anew, and views of parameters that were taken before are no
        longer those of the network.

    Attributes
    ----------
    values, gradients : mapping of str to array
        Live views of this layer's parameters and their gradients, given by the network.
    key : int
        A 32-bit number from which this layer's dropout masks are hashed, given by the network.
    takes_integers : bool
        Whether x may have an integer dtype, such as the uint8 pixels that `Rescaling` takes.
    adapts, adapts_to_targets : bool
        Whether `adapt` learns something from the training inputs, and `adapt_to_targets` from the
        training targets.
    after_loss : bool
        Whether it comes after the loss (`gpunn.layers.outputs`), so that training goes without.

    See Also
    --------
    Dense : The layer that most networks consist of.
    Chain : Layers within a layer.

    Examples
    --------
    A layer of one's own; docs/extending.md has one with parameters:

    >>> from dataclasses import dataclass
    >>> import gpunn
    >>> @dataclass(eq=False)
    ... class Halve(gpunn.layers.Layer):
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
    >>> gpunn.Sequential([Halve()], 2, backend="numpy").predict([[1.0, 3.0]]).tolist()
    [[0.5, 1.5]]
    """

    beside_fields = frozenset(("values", "gradients", "key", "f"))
    takes_integers: ClassVar[bool] = False
    adapts: ClassVar[bool] = False
    adapts_to_targets: ClassVar[bool] = False
    after_loss: ClassVar[bool] = False

    label: str = field(default="", kw_only=True)
    learning_rate_factor: float | Mapping[str, float] = field(default=1.0, kw_only=True)
    weight_decay_factor: float | Mapping[str, float] | None = field(default=None, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)

    def __init_subclass__(cls) -> None:
        """Add the parameters of every layer to the docstring of one of gpunn's."""
        super().__init_subclass__()
        text = vars(cls).get("__doc__") or ""
        if is_built_in(cls) and (following := NEXT_SECTION.search(text)):
            shared, place = textwrap.indent(OF_EVERY_LAYER, following[1]), following.start() + 1
            cls.__doc__ = text[:place] + shared + text[place:]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.label, str):
            raise ArgumentTypeError(f"label: expected a string; got {self.label!r}")
        for name in FACTORS:
            setattr(self, name, checked_factor(name, getattr(self, name)))
        if type(self).__hash__ is None:
            raise ArgumentTypeError(
                f"{type(self).__name__}: two layers are never the same; define the class with "
                "@dataclass(eq=False)"
            )
        self.values: Mapping[str, Array] = {}
        self.gradients: Mapping[str, Array] = {}
        self.key = 0
        self._network: Callable[[], Any] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless that has no effect or contradicts what has been built.

        In a network, a float such as a dropout rate may be changed, and `trainable`. What
        determined the shapes, parameters and activations may not.
        """
        own, here = type(self).__module__.startswith("gpunn."), vars(self)
        if name == "trainable":
            value = check_flag(name, value)
        elif name in ("values", "gradients"):
            value = LiveViews(value)
        network_of = here.get("_network")
        network = None if network_of is None else network_of()
        if name == "trainable" and network is not None:
            network.set_trainable({self: value})
            return
        in_network = here.get("values") or here.get("key")
        settled = name == "f" or (
            name in self.__dataclass_fields__
            and name != "trainable"
            and not isinstance(here.get(name), float)
        )
        if in_network and ((own and settled) or name in FACTORS):
            raise fixed_attribute(self, name)
        super().__setattr__(name, value)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of one row of the output, from that of the input.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one row of x, such as (784,).

        Returns
        -------
        tuple of int
            That of y; by default the same.

        Raises
        ------
        ArgumentError
            If the layer can't take such an input.
        """
        return input_shape

    def children(self) -> Mapping[str, Layer]:
        """Return the layers that this one consists of or contains, by their labels.

        Returns
        -------
        mapping of str to Layer
            Empty by default. Labels are unique, and contain no dot.
        """
        return {}

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        """Declare this layer's parameters and buffers.

        By default those of its children, by names such as "dense_1.weights", as if each child took
        this layer's own input.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one row of x.

        Returns
        -------
        list of ParameterSpec
            Name, shape and initializer of each, and whether it is trained and decays.
        """
        return [
            replace(spec, name=f"{label}.{spec.name}")
            for label, child in self.children().items()
            for spec in child.parameters(input_shape)
        ]

    def attach(self, values: Mapping[str, Array], gradients: Mapping[str, Array], key: int) -> None:
        """Keep the views of the parameters; called once, by the network.

        Parameters
        ----------
        values, gradients : mapping of str to array
            Views of this layer's part of the network's vectors, by the names that `parameters`
            declared.
        key : int
            The 32-bit number that dropout masks are hashed from.
        """
        self.values, self.gradients, self.key = values, gradients, key
        for index, (label, child) in enumerate(self.children().items()):
            child_key = int(generator(key, "dropout", index).integers(2**32))
            child.attach(within(values, label), within(gradients, label), child_key)

    def recorded_attributes(self) -> list[str]:
        """Return what a marked `forward` or `backward` of a custom class may read beside fields.

        Returns
        -------
        list of str
            Attributes that hold a number or text. If one has another value, a step is recorded
            again.
        """
        marked = any(hasattr(method, "operations_only") for method in (self.forward, self.backward))
        if type(self).__module__.startswith("gpunn.") or not marked:
            return []
        return [name for name, value in vars(self).items() if isinstance(value, int | float | str)]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, which belongs to no network yet."""
        return {**vars(self), "values": {}, "gradients": {}, "key": 0, "_network": None}

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

        Returns
        -------
        mapping of str to ndarray
            The buffers' new values; none by default.
        """
        return {}

    def adapt_to_targets(
        self, y: HostArray, indices: np.ndarray | None = None, dtype: str = "float32"
    ) -> Mapping[str, np.ndarray]:
        """Return, by name, the values of buffers that are computed from the training targets.

        Called once, before training.

        Parameters
        ----------
        y : array, shape (rows, *output shape of the network)
            On the host. A memory map may be larger than the memory, so read it in chunks.
        indices, dtype : as for `adapt`
            Which rows, and the type of the values.

        Returns
        -------
        mapping of str to ndarray
            The buffers' new values; none by default.
        """
        return {}

    def linear(self, x: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return what this layer adds its biases to, for initial values that depend on data.

        Parameters
        ----------
        x : ndarray of float64, shape (rows, *input shape)
            Inputs of the layer, on the host.
        values : mapping of str to ndarray of float64
            Its parameters.

        Returns
        -------
        ndarray of float64, shape (rows, *units)
            Such as x W of `Dense`.

        Raises
        ------
        ArgumentError
            If the layer does not define it, as by default.
        """
        raise ArgumentError(
            f"{self.name}: can't have initial values that depend on data; it must define linear"
        )

    def forward(self, x: Array, workspace: Workspace) -> Array:
        """Return y = f(x), in a buffer of the workspace.

        Parameters
        ----------
        x : array, shape (rows, *input shape)
            A batch, of the network's dtype unless `takes_integers`.
        workspace : Workspace
            Buffers, the backend, and whether this is training.

        Returns
        -------
        array, shape (rows, *output shape)
            y, or x itself if the layer changes nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
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

        Returns
        -------
        array, shape of x
            dL/dx; not looked at unless `wants_input_gradient`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    def config(self) -> dict[str, Any]:
        """Return the layer's arguments in JSON types.

        Returns
        -------
        dict
            "name", what differs from the defaults of `label`, the two factors and `trainable`, and
            all else.
        """
        described = super().config()
        for name, default in LEFT_OUT.items():
            if described[name] == default:
                del described[name]
        if self.weight_decay_factor is None:
            del described["weight_decay_factor"]
        return described

    def factored(self, spec: ParameterSpec) -> ParameterSpec:
        """Return what this layer, or one within it, declares, with the factors of all these layers.

        Parameters
        ----------
        spec : ParameterSpec
            A trainable parameter, by its name within this layer.

        Returns
        -------
        ParameterSpec
            The same, with its rates multiplied.

        Raises
        ------
        ArgumentError
            If a factor is for a parameter that there is not.
        """
        for label, child in self.children().items():
            prefix = f"{label}."
            if spec.name.startswith(prefix):
                own = child.factored(replace(spec, name=spec.name.removeprefix(prefix)))
                spec = replace(own, name=spec.name)
        rate, decay = self.learning_rate_factor, self.weight_decay_factor
        if isinstance(rate, Mapping):
            rate = rate.get(spec.name, 1.0)
        if isinstance(decay, Mapping):
            decay = decay.get(spec.name, spec.decay)
        elif decay is None or spec.decay is False:
            decay = spec.decay
        else:
            decay = decay * spec.decay
        frozen = spec.frozen or not self.trainable
        return replace(
            spec, rate=rate * spec.rate, decay=decay, trainable=not frozen, frozen=frozen
        )

    def declared(self, input_shape: Shape) -> list[ParameterSpec]:
        """Return what `parameters` declares, with the factors of this layer and those within it.

        So with `trainable`: parameters of a frozen layer are not.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one row of x.

        Returns
        -------
        list of ParameterSpec
            As of `parameters`.

        Raises
        ------
        ArgumentError
            If a factor is for a parameter that there is not.
        """
        specs = self.parameters(input_shape)
        check_factors(self, [spec.name for spec in specs if spec.trainable])
        return [self.factored(spec) if spec.trainable else spec for spec in specs]


def checked_factor(argument: str, value: Any) -> Any:
    """Return a factor as a float, several by name as a dict; None stays."""
    if value is None and argument == "weight_decay_factor":
        return None
    if isinstance(value, Mapping):
        return {
            name: check_number(f"{argument}[{name!r}]", factor, at_least=0)
            for name, factor in value.items()
        }
    return check_number(argument, value, at_least=0)


def check_factors(layer: Layer, names: Sequence[str]) -> None:
    """Raise an ArgumentError if factors are for none of these trainable parameters of a layer."""
    for argument in FACTORS:
        given = getattr(layer, argument)
        for name in given if isinstance(given, Mapping) else ():
            if name not in names:
                raise ArgumentError(
                    f"{argument}: {layer.name} has no trainable parameter {name!r}; "
                    f"{suggest(name, names)}"
                )
    for label, child in layer.children().items():
        check_factors(child, list(within(dict.fromkeys(names), label)))


def family(*layers: Layer) -> Iterator[Layer]:
    """Yield layers, each followed by those that it contains, at any depth."""
    for layer in layers:
        yield layer
        yield from family(*layer.children().values())


def synchronizing(layers: Sequence[Layer]) -> list[Any]:
    """Return the layers, at any depth, whose passes exchange numbers."""
    every = (layer for layer in family(*layers) if isinstance(layer, Synchronizing))
    return [layer for layer in every if not getattr(layer, "frozen", False)]


def only_vectors(layer: Layer, input_shape: Shape) -> int:
    """Return the number of features, or raise if a row is not a vector."""
    if len(input_shape) != 1:
        raise ArgumentError(
            f"{layer.name}: expected rows that are vectors, shape (features,); got rows of shape "
            f"{input_shape}. Put gpunn.layers.Flatten() in front"
        )
    return input_shape[0]


@runtime_checkable
class Synchronizing(Protocol):
    """A layer whose passes exchange numbers, where several ranks have the rows of a batch.

    One that has an attribute `frozen` exchanges nothing while that is true.
    """

    def forward_without_rows(self, workspace: Workspace) -> None:
        """Exchange what `forward` exchanges, on a rank that has no rows of the batch."""

    def backward_without_rows(self, workspace: Workspace) -> None:
        """Exchange what `backward` exchanges, likewise."""
