"""Trace the definition of an operation."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.expressions.graph import Graph, Node, Untraceable
from gpunn.backends.expressions.namespace import Namespace
from gpunn.backends.expressions.stand_ins import StandIn, Tracer
from gpunn.backends.recording import Arguments
from gpunn.configurable import Configurable

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
    graph = Graph()
    first, second = (run(definition, arguments, graph, dtype) for _ in range(2))
    if [id(each.node) for each in first] != [id(each.node) for each in second]:
        raise Untraceable("code that gives another result when it runs again")
    return first


def run(definition: Any, arguments: Arguments, graph: Graph, dtype: np.dtype) -> list[Write]:
    """Run a definition once, with stand-ins."""
    tracer = Tracer(graph, dtype)
    stand_ins = Substitution(tracer)
    replaced = {name: stand_ins.of(value) for name, value in vars(arguments).items()}
    try:
        definition(TracedBackend(tracer), **replaced)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if "__array_ufunc__" in reason:
            reason = "a function of NumPy; use the functions of xp"
        raise Untraceable(tracer.refusal or reason) from error
    if tracer.refusal:
        raise Untraceable(tracer.refusal)
    stand_ins.check()
    writes = [
        Write(each.target, each.node)
        for each in stand_ins.arrays
        if each.target is not None and each.node.data is not each.target
    ]
    if any(array.dtype != dtype for array, _ in writes):
        raise Untraceable("a change of an array of integers")
    return writes


class Substitution:
    """Replaces arrays by stand-ins, in containers and in attributes of custom objects."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.arrays: list[StandIn] = []
        self._objects: dict[int, tuple[Any, dict[str, Any]]] = {}

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
            for name, attribute in attributes_of(value).items():
                if isinstance(attribute, np.ndarray):
                    attribute = self._of_array(attribute)
                elif isinstance(attribute, list | dict | set):
                    attribute = copy.copy(attribute)
                object.__setattr__(replaced, name, attribute)
            self._objects[id(value)] = replaced, dict(snapshot(replaced))
        return self._objects[id(value)][0]

    def check(self) -> None:
        """Raise an `Untraceable` if the code has changed attributes of an object."""
        for replaced, before in self._objects.values():
            after = dict(snapshot(replaced))
            if after.keys() != before.keys() or any(
                not same(after[name], each) for name, each in before.items()
            ):
                raise Untraceable("code that changes attributes")


def attributes_of(value: Any) -> dict[str, Any]:
    """Return an object's attributes; an object with `__slots__` may have none."""
    return getattr(value, "__dict__", {})


def snapshot(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object, with copies of containers."""
    for name, attribute in attributes_of(value).items():
        is_container = isinstance(attribute, list | dict | set)
        yield name, copy.copy(attribute) if is_container else attribute


def same(a: Any, b: Any) -> bool:
    """Return whether two attributes are one object, or equal containers."""
    return a is b or (isinstance(a, list | dict | set) and type(a) is type(b) and a == b)
