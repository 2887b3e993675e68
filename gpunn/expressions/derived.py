"""Derivatives of custom classes that define a function, but no derivative."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np

from gpunn.configurable import Configurable, is_built_in
from gpunn.errors import ArgumentError
from gpunn.expressions.derivatives import gradients
from gpunn.expressions.expression import Expression, expression_of
from gpunn.expressions.graph import Node, Untraceable, in_order
from gpunn.expressions.namespace import Namespace
from gpunn.expressions.objects import copied, described, kept_classes, same, state_of
from gpunn.expressions.stand_ins import StandIn
from gpunn.expressions.variables import value_of, variables_of
from gpunn.typing import Array

M = TypeVar("M", bound=Callable[..., Any])

Check: TypeAlias = Callable[[Sequence[Node], Sequence[Node]], None]
"""Raises an `Untraceable` if results depend on inputs in a way that makes the derivative wrong."""


def derived(
    owner: Configurable, method: str, instead: str, check: Check, xp: Any, *arguments: Array
) -> Array:
    # If `xp` is a `Namespace`, the trace's graph gets the derivative. Otherwise, the derivative is
    # computed, and its expression is kept for later calls.
    try:
        if isinstance(xp, Namespace):
            return slope(getattr(owner, method), check, xp, arguments)
        arrays = {name: value for name, value in vars(owner).items() if is_array(value)}
        expression = cached(owner, method, check, xp, arguments, arrays)
        return expression(xp, *arguments, *arrays.values())[0]
    except Untraceable as error:
        if isinstance(error.__cause__, NotImplementedError):
            raise error.__cause__ from None
        raise ArgumentError(
            f"{type(owner).__qualname__}: gpunn can't find the derivative of the class's method "
            f"{method}. Reason: {error}. Write the method {instead}"
        ) from error


def default(method: M) -> M:
    """Mark a base class's method that computes a derivative by tracing another method."""
    method.found_in_trace = True  # type: ignore[attr-defined]
    return method


def needs_trace(cls: type) -> bool:
    method = getattr(cls, "derivative", None) or getattr(cls, "gradients", None)
    if hasattr(cls, "slopes") and str(getattr(method, "__module__", "")).startswith("gpunn."):
        method = cls.slopes
    return getattr(method, "found_in_trace", False)


def forget_inherited(cls: type, base: type, function: str, *names: str) -> None:
    """Reset the built-in derivatives `names` to the defaults of `base` if `function` is custom.

    If names[0] is also custom, nothing is reset.
    """
    definers = [
        next(one for one in cls.__mro__ if name in vars(one)) for name in (function, *names)
    ]
    if not is_built_in(definers[0]) and is_built_in(definers[1]):
        for name, definer in zip(names, definers[1:], strict=True):
            if is_built_in(definer) and definer is not base:
                setattr(cls, name, getattr(base, name))


def slope(function: Callable[..., Any], check: Check, xp: Namespace, arguments: Any) -> StandIn:
    """Trace the derivative of function(xp, *arguments) with respect to the first argument."""
    tracer = xp.tracer
    variables = [tracer.variable(tracer.node_of(each)) for each in arguments]
    inputs = [each.node for each in variables]
    result = tracer.node_of(function(xp, *variables))
    if any(each.node is not node for each, node in zip(variables, inputs, strict=True)):
        raise Untraceable("the code changes its arguments")
    check([result], inputs[:1])
    (found,) = gradients(tracer.graph, [result], [tracer.graph.number(1.0)], inputs[:1])
    if found is None:
        return xp.zeros_like(arguments[0])
    return cast("StandIn", Expression(tuple(inputs), (found,))(xp, *arguments)[0])


def require_elementwise(results: Sequence[Node], inputs: Sequence[Node]) -> None:
    shapes = {id(each): each.shape for each in inputs}
    for node in in_order(results):
        shape = next((shapes[id(each)] for each in node.args if id(each) in shapes), None)
        if shape is not None:
            if node.shape != shape:
                raise Untraceable(
                    "the code is not elementwise; for a function of whole rows, derive a layer "
                    "from gpunn.layers.Block"
                )
            shapes[id(node)] = shape


CACHE: weakref.WeakKeyDictionary[type, dict[Hashable, Expression]] = weakref.WeakKeyDictionary()
"""The expressions of derivatives, by class. No expression refers to objects or arrays."""

LIMIT = 64
"""Maximum number of expressions that are kept for a class."""


def cached(
    owner: Configurable,
    method: str,
    check: Check,
    xp: Any,
    arguments: Sequence[Array],
    arrays: Mapping[str, Array],
) -> Expression:
    dtype = "float32" if arguments[0].dtype == xp.float32 else "float64"
    shapes = {
        f"argument {k}": (tuple(each.shape), kind_of(xp, each))
        for k, each in enumerate((*arguments, *arrays.values()))
    }
    known = CACHE.setdefault(type(owner), {})
    key = method, dtype, *shapes.values(), frozen(owner)
    if key not in known:

        def function(xp: Namespace, *stand_ins: StandIn) -> StandIn:
            given, others = stand_ins[: len(arguments)], stand_ins[len(arguments) :]
            replaced = dict(zip(arrays, others, strict=True))
            with kept_classes([owner]):
                inner = copied(owner, lambda name, value: replaced.get(name, value))
                before = state_of(inner)
                result = slope(getattr(inner, method), check, xp, given)
                if not same(state_of(inner), before):
                    raise Untraceable("the code changes attributes")
            return result

        if len(known) >= LIMIT:
            known.clear()
        known[key] = expression_of(function, shapes, dtype)
    return known[key]


def is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.generic)


def kind_of(xp: Any, array: Array) -> str:
    if array.dtype == xp.bool:
        return "bool"
    return "int" if xp.isdtype(array.dtype, "integral") else "float"


def frozen(value: Any) -> Hashable:
    """Return a hashable key of a value; the key of an array is only its shape and dtype."""
    if isinstance(value, str | int | float | complex | bytes | Enum | np.generic | None):
        return type(value).__name__, repr(value)
    if is_array(value):
        return "array", tuple(value.shape), str(value.dtype)
    if isinstance(value, list | tuple | frozenset | range):
        return type(value).__name__, *map(frozen, value)
    if isinstance(value, dict):
        return "dict", *((frozen(key), frozen(each)) for key, each in value.items())
    if isinstance(value, Configurable):
        names = [*getattr(value, "__dataclass_fields__", ()), *value.recorded_attributes()]
        attributes = [frozen(getattr(value, name, None)) for name in names]
        variables = [described(value_of(*pair)) for pair in variables_of(type(value))]
        return weakref.ref(type(value)), *attributes, *variables
    try:
        reference = weakref.ref(value)
        hash(reference)
    except TypeError:
        raise Untraceable(f"an attribute of type {type(value).__name__} is not supported") from None
    return reference
