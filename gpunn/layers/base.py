"""The base class of all layers.

A layer is a function y = f(x) of a batch, together with the function's chain rule. The first axis
of a batch is the rows (samples). `forward` computes y. `backward` gets dL/dy, writes
dL/d(parameter) into `self.gradients`, and returns dL/dx, where L is the loss of the batch. Both use
operations of `workspace.backend` or plain array-API functions (`workspace.backend.xp`). A layer
owns no arrays: its parameters are views of the network's vectors, and all other arrays are buffers
of the workspace.

To define a new layer, write a dataclass; see the example in `Layer`.
"""

from __future__ import annotations

import functools
import inspect
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

F = TypeVar("F", bound=Callable[..., Any])

FACTORS = ("learning_rate_factor", "weight_decay_factor")
"""Fields of a layer that the network reads only when it builds the layer's parameters."""

LEFT_OUT = {"label": "", "learning_rate_factor": 1.0, "trainable": True}
"""Fields that a layer's configuration omits if they have these default values."""


OF_EVERY_LAYER = """\
Other Parameters
----------------
label, learning_rate_factor, weight_decay_factor, trainable : keyword-only
    See `Layer`.

"""
"""The section on shared parameters, which `Layer` inserts into each built-in layer's docstring."""

NEXT_SECTION = re.compile(r"\n( *)(?:Raises|Warns|See Also|Notes|Examples)\n *-")


def operations_only(method: F) -> F:
    """Mark a `forward` or `backward` that computes only with operations of the backend.

    gpunn calls a marked method only to record a step, with placeholders instead of arrays. All
    steps repeat the recorded operations. If the method uses arrays in another way, such as in
    arithmetic or functions of `xp`, an `ArgumentError` names the method and the line. A layer whose
    `forward` or `backward` is not marked is called in every training step.

    Parameters
    ----------
    method : function
        A layer's `forward` or `backward`.

    Returns
    -------
    function
        The marked `method`.

    Examples
    --------
    >>> @gpunn.layers.operations_only
    ... def forward(self, x, workspace):
    ...     y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
    ...     workspace.backend.rescale(x, 0.5, 0.0, y)
    ...     return y
    """
    # The mark is the method itself. So a wrapper, to which functools.wraps copies the mark, counts
    # as unmarked, because the wrapper may do more.
    method.operations_only = method  # type: ignore[attr-defined]
    return method


@dataclass(eq=False)
class Layer(Configurable):
    """Base of all layers.

    Attributes
    ----------
    values, gradients : mapping of str to array
        Live views of this layer's parameters and their gradients, by name; the network sets them.
    key : int
        A 32-bit number from which this layer's dropout masks are computed; the network sets it.
    takes_integers : bool
        Whether x may have an integer dtype, such as the uint8 pixels of `Rescaling`.
    adapts, adapts_to_targets : bool
        Whether `adapt` computes buffers from the training inputs, and whether `adapt_to_targets`
        computes buffers from the training targets.
    after_loss : bool
        Whether the layer comes after the loss, as the layers in `gpunn.layers.outputs` do. Training
        without metrics skips such a layer.

    Other Parameters
    ----------------
    label : str
        Name within the network. By default the network chooses a name, such as "dense_1".
    learning_rate_factor : float or mapping of str to float
        Multiplies the learning rate of this layer's parameters. A mapping, such as `{"biases":
        0.1}`, has a factor for each parameter that it names. In a layer with inner layers, the
        factor also multiplies the inner layers' factors.
    weight_decay_factor : float, mapping of str to float, or None
        Multiplies the weight decay. A number applies to the parameters that decay by default. A
        mapping sets the factor of each parameter that it names, including biases. None leaves the
        decay unchanged. The learning-rate factor also affects the decay: an update multiplies
        parameters by 1 - rate factor * learning_rate * decay factor * weight_decay.
    trainable : bool
        Whether training changes the parameters of this layer and its inner layers. Frozen
        parameters have no gradient, update, decay, penalty or optimizer state, and don't count in
        the norm for gradient clipping. Changing `trainable` between two calls of `Trainer.fit`
        resets the optimizer's state. Arrays from `values` then no longer belong to the network.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an argument is outside its documented range, or if the layer does not support the shape
        of its inputs.

    Examples
    --------
    A custom layer without parameters; docs/how_to/operations.md has an example with parameters:

    >>> from dataclasses import dataclass
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

    extra_attributes = frozenset(("values", "gradients", "key", "f"))
    takes_integers: ClassVar[bool] = False
    adapts: ClassVar[bool] = False
    adapts_to_targets: ClassVar[bool] = False
    after_loss: ClassVar[bool] = False

    label: str = field(default="", kw_only=True)
    learning_rate_factor: float | Mapping[str, float] = field(default=1.0, kw_only=True)
    weight_decay_factor: float | Mapping[str, float] | None = field(default=None, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        method = vars(cls).get("forward")
        names = list(inspect.signature(method).parameters) if inspect.isfunction(method) else []
        if names[1:] in (["x"], ["xp", "x"]):
            raise ArgumentTypeError(
                f"{cls.__name__}: forward({', '.join(names)}) has no argument workspace. Derive "
                "the class from gpunn.layers.Block, or define forward(self, x, workspace) and "
                "backward"
            )
        text = vars(cls).get("__doc__") or ""
        if is_built_in(cls) and (following := NEXT_SECTION.search(text)):
            shared, start = textwrap.indent(OF_EVERY_LAYER, following[1]), following.start() + 1
            cls.__doc__ = text[:start] + shared + text[start:]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.label, str):
            raise ArgumentTypeError(f"label: expected a string; got {self.label!r}")
        for name in FACTORS:
            self._keep(name, checked_factor(name, getattr(self, name)))
        if type(self).__hash__ is None:
            raise ArgumentTypeError(
                f"{type(self).__name__}: layers must be compared by identity; define the class "
                "with @dataclass(eq=False)"
            )
        self.values: Mapping[str, Array] = {}
        self.gradients: Mapping[str, Array] = {}
        self.key = 0
        self._network: Callable[[], Any] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # In a network, only `trainable` and floats, such as a dropout rate, can change. Attributes
        # that determine shapes, parameters and activations cannot change.
        attributes = vars(self)
        if name == "trainable":
            value = check_flag(name, value)
            network_of = attributes.get("_network")
            if network_of is not None and (network := network_of()) is not None:
                network.set_trainable({self: value})
                return
        elif name in ("values", "gradients"):
            value = LiveViews(value)
        if attributes.get("values") or attributes.get("key"):
            settled = name == "f" or (
                name in self.__dataclass_fields__
                and name != "trainable"
                and not isinstance(attributes.get(name), float)
            )
            built_in = type(self).__module__.startswith("gpunn.")
            if (built_in and settled) or name in FACTORS:
                raise fixed_attribute(self, name)
        super().__setattr__(name, value)

    def __call__(self, x: Any) -> Any:
        # In the `forward` of a `Block`, x is a stand-in for an array.
        tracer = getattr(x, "tracer", None)
        if not isinstance(tracer, CallTracer):
            raise ArgumentTypeError(
                f"{self.name}: a layer can be called like a function only in the method forward of "
                "a gpunn.layers.Block. For the outputs of a network, use Sequential.predict"
            )
        return tracer.call_layer(self, x)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of one row of the output.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one row of x, such as (784,).

        Returns
        -------
        tuple of int
            The shape of one row of y; by default the shape of x.

        Raises
        ------
        ArgumentError
            If the layer does not support this input shape.
        """
        return input_shape

    def children(self) -> Mapping[str, Layer]:
        """Return the layers within this layer, by their labels.

        Returns
        -------
        mapping of str to Layer
            Empty by default. Labels are unique and contain no dot.
        """
        return {}

    def _called(self) -> Sequence[Layer]:
        return list(self.children().values())

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        """Declare this layer's parameters and buffers.

        By default, a layer declares the parameters of its children, with names such as
        "dense_1.weights", and each child is assumed to get this layer's input.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one row of x.

        Returns
        -------
        list of ParameterSpec
            Name, shape and initializer of each parameter and buffer, whether it is trained, and
            whether weight decay applies.
        """
        return [
            replace(spec, name=f"{label}.{spec.name}")
            for label, child in self.children().items()
            for spec in child.parameters(input_shape)
        ]

    def attach(self, values: Mapping[str, Array], gradients: Mapping[str, Array], key: int) -> None:
        """Store parameters and gradients; the network calls this method once.

        Parameters
        ----------
        values, gradients : mapping of str to array
            This layer's parameters and gradients by name, as views into the network's vectors.
        key : int
            The 32-bit number from which dropout masks are computed.
        """
        self.values, self.gradients, self.key = values, gradients, key
        for index, (label, child) in enumerate(self.children().items()):
            parts = within(values, label), within(gradients, label)
            child.attach(*parts, mask_key(key, index))

    def recorded_attributes(self) -> list[str]:
        marked = any(hasattr(method, "operations_only") for method in (self.forward, self.backward))
        if type(self).__module__.startswith("gpunn.") or not marked:
            return []
        return [name for name, value in vars(self).items() if isinstance(value, int | float | str)]

    def __getstate__(self) -> dict[str, Any]:
        # A copy does not belong to the network.
        return {**vars(self), "values": {}, "gradients": {}, "key": 0, "_network": None}

    def adapt(
        self, X: HostArray, indices: np.ndarray | None = None, dtype: str = "float32"
    ) -> Mapping[str, np.ndarray]:
        """Compute the values of buffers from the training inputs, once before training.

        Parameters
        ----------
        X : array, shape (rows, *input shape)
            Inputs on the host. A memory map may be larger than the memory, so read it in chunks.
        indices : array of int64 or None
            The training rows, or None for all rows.
        dtype : {"float32", "float64"}
            The network's dtype, which must be able to represent the values.

        Returns
        -------
        mapping of str to ndarray
            The new values, by the buffers' names; empty by default.
        """
        return {}

    def adapt_to_targets(
        self, y: HostArray, indices: np.ndarray | None = None, dtype: str = "float32"
    ) -> Mapping[str, np.ndarray]:
        """Compute the values of buffers from the training targets, once before training.

        Parameters
        ----------
        y : array, shape (rows, *output shape of the network)
            Targets on the host. A memory map may be larger than the memory, so read it in chunks.
        indices, dtype : as for `adapt`
            The training rows, and the network's dtype.

        Returns
        -------
        mapping of str to ndarray
            The new values, by the buffers' names; empty by default.
        """
        return {}

    def linear(self, x: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the layer's output without biases, for initializers that depend on data.

        Parameters
        ----------
        x : ndarray of float64, shape (rows, *input shape)
            Inputs of the layer, on the host.
        values : mapping of str to ndarray of float64
            The layer's parameters.

        Returns
        -------
        ndarray of float64, shape (rows, *units)
            The output without biases, for example x W in `Dense`.

        Raises
        ------
        ArgumentError
            If the class does not override this method.
        """
        raise ArgumentError(
            f"{self.name}: this layer does not support initial values that depend on data; to "
            "support them, define `linear` in a subclass"
        )

    def forward(self, x: Array, workspace: Workspace) -> Array:
        """Compute y = f(x) in a buffer of the workspace.

        Parameters
        ----------
        x : array, shape (rows, *input shape)
            A batch in the network's dtype, or of integers if `takes_integers`.
        workspace : Workspace
            The pass's buffers and backend, and whether the pass is for training.

        Returns
        -------
        array, shape (rows, *output shape)
            y, which is the array x itself if the layer changes nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        """Compute dL/dx from dL/dy, and set `self.gradients`.

        Parameters
        ----------
        x, y : array
            Input and output of `forward`.
        gradient : array
            dL/dy. This layer may overwrite the array, and return it as dL/dx.
        workspace : Workspace
            The workspace of the forward pass.
        wants_input_gradient : bool
            Whether dL/dx is needed.

        Returns
        -------
        array, shape of x
            dL/dx; ignored unless `wants_input_gradient`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    def config(self) -> dict[str, Any]:
        """Return the layer's arguments in JSON types.

        Returns
        -------
        dict
            "name" and all arguments. `label`, `trainable`, `learning_rate_factor` and
            `weight_decay_factor` are included only if they differ from their defaults.
        """
        described = super().config()
        for name, default in LEFT_OUT.items():
            if described[name] == default:
                del described[name]
        if self.weight_decay_factor is None:
            del described["weight_decay_factor"]
        return described

    def factored(self, spec: ParameterSpec) -> ParameterSpec:
        """Apply the factors of inner layers to a parameter, then this layer's factors.

        Parameters
        ----------
        spec : ParameterSpec
            A trainable parameter, with its name within this layer.

        Returns
        -------
        ParameterSpec
            The parameter with its new learning-rate and decay factors.
        """
        for label, child in self.children().items():
            prefix = f"{label}."
            if spec.name.startswith(prefix):
                inner = child.factored(replace(spec, name=spec.name.removeprefix(prefix)))
                spec = replace(inner, name=spec.name)
        rate, decay = self.learning_rate_factor, self.weight_decay_factor
        if rate == 1.0 and decay is None and self.trainable:
            return spec
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
        """Return the parameters, with their learning-rate and weight-decay factors.

        Parameters of a frozen layer are not trainable.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one row of x.

        Returns
        -------
        list of ParameterSpec
            The parameters and buffers.

        Raises
        ------
        ArgumentError
            If a factor names a parameter that does not exist.
        """
        specs = self.parameters(input_shape)
        check_factors(self, [spec.name for spec in specs if spec.trainable])
        return [self.factored(spec) if spec.trainable else spec for spec in specs]


@functools.lru_cache(1024)
def mask_key(seed: int, index: int) -> int:
    return int(generator(seed, "dropout", index).integers(2**32))


def checked_factor(argument: str, value: Any) -> Any:
    if value is None and argument == "weight_decay_factor":
        return None
    if isinstance(value, Mapping):
        return {
            name: check_number(f"{argument}[{name!r}]", factor, at_least=0)
            for name, factor in value.items()
        }
    return check_number(argument, value, at_least=0)


def check_factors(layer: Layer, names: Sequence[str]) -> None:
    for argument in FACTORS:
        factors = getattr(layer, argument)
        for name in factors if isinstance(factors, Mapping) else ():
            if name not in names:
                raise ArgumentError(
                    f"{argument}: {layer.name} has no trainable parameter {name!r}; "
                    f"{suggest(name, names)}"
                )
    for label, child in layer.children().items():
        check_factors(child, list(within(dict.fromkeys(names), label)))


def family(*layers: Layer) -> Iterator[Layer]:
    for layer in layers:
        yield layer
        yield from family(*layer.children().values())


def synchronizing(layers: Sequence[Layer]) -> list[Any]:
    # To take part in the exchanges, a rank without rows of a batch calls the layers'
    # `forward_without_rows` and `backward_without_rows`.
    found: list[Any] = []
    for layer in layers:
        if hasattr(layer, "forward_without_rows") and not getattr(layer, "frozen", False):
            found.append(layer)
        found += synchronizing(layer._called())
    return found


def only_vectors(layer: Layer, input_shape: Shape) -> int:
    if len(input_shape) != 1:
        raise ArgumentError(
            f"{layer.name}: expected rows of shape (features,); got rows of shape {input_shape}. "
            "Insert gpunn.layers.Flatten() before this layer"
        )
    return input_shape[0]


@runtime_checkable
class CallTracer(Protocol):
    def call_layer(self, layer: Layer, x: Any) -> Any: ...
