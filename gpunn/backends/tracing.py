"""Trace the definition of an operation."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.recording import Arguments, elements, same
from gpunn.configurable import Configurable, is_built_in
from gpunn.expressions.graph import Node, Untraceable
from gpunn.expressions.namespace import Namespace
from gpunn.expressions.stand_ins import StandIn, Tracer
from gpunn.expressions.tracing import explained, traced_twice

__all__ = ["Write", "trace_operation"]


class Write(NamedTuple):
    """An array that an operation changes, and the node of the array's new elements."""

    array: np.ndarray
    node: Node


class TracedBackend:
    """What a definition may use of its backend: the array namespace."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer, self.xp = tracer, Namespace(tracer)

    def __getattr__(self, name: str) -> Any:
        self._tracer.refuse(f"backend.{name}")


def trace_operation(definition: Any, arguments: Arguments, dtype: np.dtype) -> list[Write]:
    """Return what an operation's definition writes, as functions of what it reads.

    Raises an `Untraceable` with the reason if the definition can't be traced. The definition runs
    twice: if the two graphs differ, it uses random numbers or counts its calls.
    """
    return traced_twice(
        lambda tracer: writes_of(definition, arguments, tracer),
        lambda writes: [each.node for each in writes],
        dtype,
    )


def writes_of(definition: Any, arguments: Arguments, tracer: Tracer) -> list[Write]:
    """Run a definition with stand-ins of a trace."""
    stand_ins = Substitution(tracer)
    replaced = {name: stand_ins.of(value) for name, value in vars(arguments).items()}
    classes = attributes_of_classes(replaced.values())
    try:
        with explained(tracer):
            definition(TracedBackend(tracer), **replaced)
        stand_ins.check()
    finally:
        restore(classes)
    writes = [
        Write(each.target, each.node)
        for each in stand_ins.arrays
        if each.target is not None and each.node.data is not each.target
    ]
    if any(array.dtype != tracer.dtype for array, _ in writes):
        raise Untraceable("a change of an array of integers")
    return writes


def attributes_of_classes(values: Iterable[Any]) -> dict[type, dict[str, Any]]:
    """Return the attributes of the custom classes of some values."""
    classes = {
        cls for value in values if isinstance(value, Configurable) for cls in type(value).__mro__
    }
    return {cls: dict(vars(cls)) for cls in classes if cls is not object and not is_built_in(cls)}


def restore(classes: Mapping[type, Mapping[str, Any]]) -> None:
    """Set the attributes of classes to earlier values, since a method may count its calls there."""
    for cls, before in classes.items():
        for name, value in dict(vars(cls)).items():
            if name not in before:
                delattr(cls, name)
            elif value is not before[name]:
                setattr(cls, name, before[name])


class Substitution:
    """Replaces arrays by stand-ins, in containers and in attributes of custom objects."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.arrays: list[StandIn] = []
        self._objects: dict[int, tuple[Any, list[Any]]] = {}

    def of(self, value: Any) -> Any:
        """Return a value with stand-ins for its arrays."""
        if isinstance(value, np.ndarray):
            return self._of_array(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self.of, value))
        if isinstance(value, list | tuple):
            return type(value)(map(self.of, value))
        if isinstance(value, Mapping):
            return {key: self.of(each) for key, each in value.items()}
        return self._of_object(value) if isinstance(value, Configurable) else value

    def _of_array(self, array: np.ndarray) -> StandIn:
        for known in self.arrays:
            other = known.target
            assert other is not None
            if np.may_share_memory(array, other):
                same = array.__array_interface__["data"] == other.__array_interface__["data"]
                if same and array.shape == other.shape and array.dtype == other.dtype:
                    return known
                self._tracer.refuse("arrays that overlap")
        self.arrays.append(self._tracer.array(array))
        return self.arrays[-1]

    def _of_object(self, value: Any) -> Any:
        """Return a copy of a custom object, so that tracing changes no attribute of the object."""
        if id(value) not in self._objects:
            replaced = copy.copy(value)
            for name, attribute in getattr(value, "__dict__", {}).items():
                if isinstance(attribute, np.ndarray):
                    attribute = self._of_array(attribute)
                elif isinstance(attribute, list | tuple | dict):
                    attribute = copy.deepcopy(attribute)
                object.__setattr__(replaced, name, attribute)
            self._objects[id(value)] = replaced, state_of(replaced)
        return self._objects[id(value)][0]

    def check(self) -> None:
        """Raise an `Untraceable` if the code has changed attributes of an object."""
        if any(not same(state_of(replaced), before) for replaced, before in self._objects.values()):
            raise Untraceable("code that changes attributes")


NUMBERS: tuple[type, ...] = int, float, complex, np.generic, np.ndarray, StandIn
CONSTANTS: tuple[type, ...] = str, bytes, type(None), Enum, type, types.BuiltinFunctionType
PLAIN = (*NUMBERS, *CONSTANTS, types.ModuleType, range, list, tuple, dict, frozenset)
"""Types of attributes whose changes a `RecordingCache` notices, or which can't change."""


def state_of(value: Configurable) -> list[Any]:
    """Return all attributes of a custom object, recursively; none of a built-in object.

    Raises an `Untraceable` if an attribute could change without a new recording.
    """
    state = elements([getattr(value, name, None) for name in value.recorded_attributes()])
    parameters = [getattr(value, name) for name in getattr(value, "__dataclass_fields__", ())]
    for each in list(state):
        kind = type(each).__name__
        if isinstance(each, Configurable):
            if not (is_built_in(type(each)) or any(each is one for one in parameters)):
                raise Untraceable(f"an attribute of type {kind} that is not a field")
            state += state_of(each)
        elif isinstance(each, types.FunctionType):
            if each.__closure__:
                raise Untraceable("an attribute that is a closure")
        elif not isinstance(each, PLAIN):
            raise Untraceable(f"an attribute of type {kind}")
    return state
