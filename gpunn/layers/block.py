"""Layers that are defined only by their forward pass."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

from gpunn.attributes import fixed_attribute
from gpunn.backends.recording import fields_of
from gpunn.configurable import Configurable, is_constant, known, resolve
from gpunn.errors import ArgumentError, ArgumentTypeError, GpunnError
from gpunn.expressions import Untraceable
from gpunn.expressions.keys import SET_BY_NETWORK
from gpunn.expressions.objects import Snapshot, described, elements, inner_states, kept_classes
from gpunn.expressions.tracing import CHANGES, once
from gpunn.expressions.variables import value_of, variables_of
from gpunn.layers.base import Layer, family, operations_only
from gpunn.layers.chain import Chain
from gpunn.layers.formula import Formula, equal, formulas_of
from gpunn.layers.formula_passes import Passes
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

ROWS = 10007
"""Number of rows for a trace that only finds shapes: unlikely to be the size of another axis."""

SIZE = 64


class Traces(NamedTuple):
    """A block's traces, and the attributes that the traces depend on."""

    inner: list[Layer]
    pairs: list[tuple[object, str]]
    attributes: Snapshot
    description: Hashable
    layers: dict[str, Layer]
    formulas: dict[Any, Formula]

    @classmethod
    def of(cls, block: Block) -> Traces:
        layers = [block, *family(*block.children().values())]
        values = attributes_of(layers)
        objects = [x for x in elements(values) if isinstance(x, Configurable)]
        pairs = fields_of([x for x in objects if not isinstance(x, Layer)])
        values += attributes_of((), pairs)
        description = description_of(layers, elements(values))
        return cls(layers[1:], pairs, Snapshot(values), description, inner_layers(block), {})

    def attributes_of(self, block: Block) -> list[Any]:
        return attributes_of((block, *self.inner), self.pairs)


TRACES: WeakKeyDictionary[Layer, Traces] = WeakKeyDictionary()


@dataclass(eq=False)
class Block(Layer):
    """A layer that is defined by its forward pass; gpunn derives the backward pass.

    A subclass defines `forward(self, x)`, or `forward(self, xp, x)` if it uses functions of the
    array-API namespace. The method calls inner layers like functions, and reads the layer's own
    parameters, which `own_parameters` declares, from `self.values`. The method is called only to
    trace it, with a stand-in for x. Training steps repeat the traced operations.

    Inner layers are attributes: layers, lists of layers, or fields with configurations of layers. A
    list in a field becomes a `Chain`, which can be called or iterated over, and an empty list
    becomes `()`. A list of lists becomes a tuple of chains. One pass may call a layer several
    times.

    `forward` may use operators, elementwise functions of `xp`, sums and maxima over the features of
    a row, columns such as `x[:, :2]`, products `x @ W` with a matrix of parameters, and
    `xp.concat(arrays, axis=-1)`. Each row of the result must depend only on the same row of x.

    Raises
    ------
    ArgumentError
        If `forward` can't be traced; the message has the reason.

    See Also
    --------
    Residual, Add, Concatenate, Multiply : Blocks for common combinations of layers.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(eq=False)
    ... class Highway(gpunn.layers.Block):
    ...     body: gpunn.layers.Layer
    ...     gate: gpunn.layers.Layer
    ...     name = "highway"
    ...
    ...     def forward(self, x):
    ...         share = self.gate(x)
    ...         return share * self.body(x) + (1 - share) * x
    >>> Dense = gpunn.layers.Dense
    >>> layer = Highway(Dense(3, "relu"), Dense(3, "sigmoid"))
    >>> gpunn.Sequential([layer], 3, backend="numpy").parameters.count
    24
    """

    joined: ClassVar[str] = ""
    """The word that drawings show where branches are joined."""

    _traced: ClassVar[bool] = True  # `forward` is traced twice, so recording needs no second call

    _formula: ClassVar[Any] = None
    _takes_xp: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        # Both passes are computed from the subclass's `forward`.
        method = vars(cls).get("forward")
        names = list(inspect.signature(method).parameters) if method else ["self", "x"]
        if "backward" in vars(cls) or len(names) != 2 + (names[1:2] == ["xp"]):
            raise ArgumentTypeError(
                f"{cls.__name__}: a Block has forward(self, x) or forward(self, xp, x), and no "
                "backward. For a layer with both passes, derive from gpunn.layers.Layer"
            )
        if method is not None:
            cls._formula, cls._takes_xp = method, len(names) == 3
            cls.forward = forward_of(method)  # type: ignore[method-assign]
        super().__init_subclass__()

    def __post_init__(self) -> None:
        super().__post_init__()
        for each in fields(self):
            value = getattr(self, each.name)
            declared = re.search(r"\bLayer\b", str(each.type)) is not None
            self._keep(each.name, as_layers(value, each.name, declared))

    def __setattr__(self, name: str, value: Any) -> None:
        if vars(self).get("key") and layers_in(name, vars(self).get(name)):
            raise fixed_attribute(self, name)
        super().__setattr__(name, value)

    def own_parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        """Declare the parameters and buffers of this layer, but not of inner layers.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one row of x.

        Returns
        -------
        list of ParameterSpec
            Empty by default; see `Layer.parameters`.
        """
        return []

    def children(self) -> dict[str, Layer]:
        found: dict[int, tuple[str, Layer]] = {}
        for name, value in vars(self).items():
            if isinstance(value, Layer | list | tuple):
                for label, layer in layers_in(name, value).items():
                    found.setdefault(id(layer), (label, layer))
        return dict(found.values())

    def config(self) -> dict[str, Any]:
        described = super().config()
        return {name: as_list(value) for name, value in described.items()}

    def recorded_attributes(self) -> list[str]:
        own = [name for name in vars(self) if name not in SET_BY_NETWORK]
        return [*of_class(self)[0], *own]

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.traced(input_shape).result.shape[1:]

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        key = "parameters", id(self), tuple(input_shape)
        return list(once(key, lambda: (self, self._parameters(input_shape)))[1])

    def _parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        specs = {spec.name: spec for spec in self.own_parameters(input_shape)}
        calls = self.traced(input_shape).calls()
        for call in calls:
            shape = call.inputs[0].shape[1:]
            for spec in call.layer.parameters(shape):
                named = replace(spec, name=f"{call.name}.{spec.name}")
                if specs.setdefault(named.name, named).shape != spec.shape:
                    raise ArgumentError(
                        f"layer {call.name!r}: is called with rows of different shapes, so that "
                        f"{spec.name!r} would have the shapes {specs[named.name].shape} and "
                        f"{spec.shape}; use a separate layer for each shape"
                    )
        for name in {call.name for call in calls}:
            if any(call.name.startswith(f"{name}.") for call in calls):
                raise ArgumentError(
                    f"layer {name!r}: forward calls both this layer and a layer within it; call "
                    "only one of the two"
                )
        return list(specs.values())

    def _drawn(self) -> list[tuple[str, Any]]:
        """Return (title, layers) of each branch to draw. The layers `()` leave x unchanged."""
        return list(self.children().items())

    def _called(self) -> Sequence[Layer]:
        formulas = TRACES[self].formulas if self in TRACES else {}
        for formula in formulas.values():  # all formulas have the same calls
            return [call.layer for call in formula.calls()]
        return super()._called()

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        if workspace.backend.dtype_name(x) != workspace.dtype:  # x may be an array of integers
            numbers = workspace.rows(self, "numbers", x.shape[0], x.shape[1:])
            workspace.backend.assign(x, numbers)
            x = numbers
        formula = self.traced(x.shape[1:], x.shape[0], workspace.dtype)
        passes = workspace.outputs[self] = Passes(self, formula, workspace)
        return passes.forward(x)

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        passes: Passes = workspace.outputs[self]
        try:
            return passes.backward(gradient, wants_input_gradient)
        except Untraceable as error:
            raise untraceable(self, f"in the derivatives, {error}") from error

    def traced(self, shape: Shape, rows: int = ROWS, dtype: str = "float32") -> Formula:
        """Return the trace of the forward pass.

        Parameters
        ----------
        shape : tuple of int
            The shape of one row of x.
        rows : int
            The number of rows of x.
        dtype : {"float32", "float64"}
            The network's dtype.

        Returns
        -------
        Formula
            The graph for arrays of these shapes, and the steps between parts of the graph.
        """
        key = tuple(shape), rows, dtype
        if rows == ROWS:  # attributes don't change while the network is made
            return once((id(self), *key), lambda: (self, self._current(key)))[1]
        return self._current(key)

    def _current(self, key: tuple[Shape, int, str]) -> Formula:
        traces = TRACES.get(self)
        # If no attribute has changed, the block also has the same inner layers.
        if traces is None or not traces.attributes.equals(traces.attributes_of(self)):
            traces = TRACES[self] = Traces.of(self)
        if key not in traces.formulas:
            specs = [(spec.name, spec.shape) for spec in self.own_parameters(key[0])]
            description = traces.description, key, *specs
            # The attributes keep objects whose ids are in the description.
            _, formula = once(description, lambda: (traces, self._trace(*key, traces)))
            if len(traces.formulas) >= SIZE:
                traces.formulas.clear()
            traces.formulas[key] = formula.with_layers(traces.layers)
        return traces.formulas[key]

    def _trace(self, shape: Shape, rows: int, dtype: str, traces: Traces) -> Formula:
        cls = type(self)
        if cls._formula is None:
            raise NotImplementedError(f"{cls.__name__} must define forward(self, x)")

        def function(xp: Any, x: Any, values: Mapping[str, Any]) -> Any:
            traced = copy.copy(self)
            vars(traced)["values"] = values
            with kept_classes([self]):
                result = cls._formula(traced, *([xp, x] if cls._takes_xp else [x]))
            if not before.equals(traces.attributes_of(traced)):
                raise Untraceable("the code changes attributes")
            return result

        try:
            plain = [getattr(self, name, None) for name in self.recorded_attributes()]
            inner_states(self, [x for x in elements(plain) if not isinstance(x, Layer)])
            specs, before = self.own_parameters(shape), Snapshot(traces.attributes_of(self))
            names = {id(layer): name for name, layer in traces.layers.items()}

            def traced(*numbers: int) -> list[Formula]:
                shapes = [(rows, *shape) for rows in numbers]
                return formulas_of(function, names, specs, shapes, dtype)

            # With one row, a row vector is a number, which some rules rewrite.
            known = traces.formulas.get((shape, ROWS, "float32")) if rows > 1 else None
            formulas = traced(rows) if known else traced(rows, rows + (rows == ROWS))
            if not equal([*formulas, known or formulas[0]]):
                depends = "the code's results depend on the number of rows"
                raise Untraceable(depends if equal(traced(rows, rows)) else CHANGES)
            return formulas[0]
        except Untraceable as error:
            cause = error.__cause__
            if isinstance(cause, GpunnError) and not isinstance(cause, Untraceable):
                raise ArgumentError(str(cause)) from None
            raise untraceable(self, str(error)) from error


def untraceable(block: Block, reason: str) -> ArgumentError:
    return ArgumentError(
        f"{type(block).__name__}: forward can't be traced: {reason}. If the layer needs this, "
        "derive it from gpunn.layers.Layer, and write forward(self, x, workspace) and backward"
    )


def forward_of(formula: Any) -> Any:
    @operations_only
    def forward(self: Block, x: Any, workspace: Any = None) -> Any:
        if isinstance(workspace, Workspace):
            return Block.forward(self, x, workspace)
        return formula(self, x) if workspace is None else formula(self, x, workspace)

    # With these names, `forward` inherits the docstring of `Layer.forward`.
    forward.__module__, forward.__qualname__ = formula.__module__, formula.__qualname__
    return forward


def of_class(layer: Layer) -> tuple[list[str], list[tuple[object, str]]]:
    def find() -> tuple[list[str], list[tuple[object, str]]]:
        names = Configurable.recorded_attributes(layer)
        return [name for name in names if name != "__dict__"], variables_of(type(layer))

    return once(("attributes", type(layer)), find)


def attributes_of(layers: Sequence[Layer], pairs: Sequence[tuple[object, str]] = ()) -> list[Any]:
    values = list[Any]()
    for layer in layers:
        values += [value for name, value in vars(layer).items() if name not in SET_BY_NETWORK]
        names, variables = of_class(layer)
        values += [getattr(layer, name, None) for name in names]
        values += [value_of(*pair) for pair in variables]
    return values + [value_of(*pair) for pair in pairs]


def description_of(layers: Sequence[Layer], attributes: Sequence[Any]) -> Hashable:
    # Objects that cannot be compared are described by their ids.
    numbers = {id(layer): number for number, layer in enumerate(layers)}

    def form(value: Any) -> Hashable:
        if id(value) in numbers:
            return numbers[id(value)]
        if isinstance(value, list | tuple | dict):
            return type(value), len(value)  # `attributes` also contains the elements
        if isinstance(value, Hashable) and is_constant(type(value)):
            return value
        if isinstance(value, Configurable):
            return (type(value),)  # `attributes` also contains the fields
        return described(value)

    return *((type(layer), *vars(layer)) for layer in layers), *map(form, attributes)


def inner_layers(layer: Layer, prefix: str = "") -> dict[str, Layer]:
    found: dict[str, Layer] = {}
    for label, child in layer.children().items():
        found[prefix + label] = child
        if isinstance(child, Chain):
            found |= inner_layers(child, f"{prefix}{label}.")
    return found


def layers_in(name: str, value: Any) -> dict[str, Layer]:
    if isinstance(value, Layer):
        return {name: value}
    several = enumerate(value, 1) if isinstance(value, list | tuple) else ()
    return {f"{name}_{k}": each for k, each in several if isinstance(each, Layer)}


def as_layers(value: Any, path: str, is_layer: bool) -> Any:
    # Configurations become layers, and lists of layers become chains. `is_layer` is True if the
    # field is declared to contain layers.
    if value is None or not (is_layer or describes_layers(value)):
        return value
    if not isinstance(value, list | tuple):
        return resolve(Layer, value, path)
    if any(isinstance(each, list | tuple) for each in value):
        return tuple(as_layers(each, f"{path}[{k}]", is_layer) for k, each in enumerate(value))
    return Chain(value) if value else ()


def describes_layers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(describes_layers, value))
    if isinstance(value, Mapping):
        return value.get("name") in known(Layer)
    return isinstance(value, Layer)


def as_list(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_list(each) for each in value]
    if isinstance(value, Mapping) and value.get("name") == Chain.name and len(value) == 2:
        return value["layers"]
    return value
