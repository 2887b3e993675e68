"""Trace the definition of an operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.recording import Arguments
from gpunn.configurable import Configurable
from gpunn.expressions.graph import Node, Untraceable
from gpunn.expressions.namespace import Namespace
from gpunn.expressions.objects import copied, kept_classes, same, state_of
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
    with kept_classes(replaced.values()):
        with explained(tracer):
            definition(TracedBackend(tracer), **replaced)
        stand_ins.check()
    writes = [
        Write(each.target, each.node)
        for each in stand_ins.arrays
        if each.target is not None and each.node.data is not each.target
    ]
    if any(array.dtype != tracer.dtype for array, _ in writes):
        raise Untraceable("a change of an array of integers")
    return writes


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
            replaced = copied(value, lambda _name, attribute: self._of_attribute(attribute))
            self._objects[id(value)] = replaced, state_of(replaced)
        return self._objects[id(value)][0]

    def _of_attribute(self, value: Any) -> Any:
        return self._of_array(value) if isinstance(value, np.ndarray) else value

    def check(self) -> None:
        """Raise an `Untraceable` if the code has changed attributes of an object."""
        if any(not same(state_of(replaced), before) for replaced, before in self._objects.values()):
            raise Untraceable("code that changes attributes")
