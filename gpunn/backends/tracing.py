"""Trace the definitions of operations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from gpunn.backends.recording import Arguments
from gpunn.configurable import Configurable, is_built_in
from gpunn.errors import GpunnError
from gpunn.expressions.derived import needs_trace
from gpunn.expressions.graph import Node, Untraceable
from gpunn.expressions.namespace import Namespace
from gpunn.expressions.objects import copied, described, kept_classes, same, state_of
from gpunn.expressions.stand_ins import StandIn, Tracer, require_readable
from gpunn.expressions.tracing import explained, traced_twice
from gpunn.expressions.variables import kept_if_refused
from gpunn.typing import Array

logger = logging.getLogger("gpunn")

T = TypeVar("T")

BytesOf: TypeAlias = Callable[[Any], Sequence[int]]
"""Returns the first address of an array and the address after its end."""


class Write(NamedTuple):
    array: Array
    node: Node


class TracedBackend:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer, self.xp = tracer, Namespace(tracer)

    def __getattr__(self, name: str) -> Any:
        self._tracer.refuse(f"backend.{name}")


def trace_operation(definition: Any, arguments: Arguments, dtype: np.dtype) -> list[Write]:
    # If the two graphs differ, the definition uses random numbers or counts its calls.
    owners = [each for each in vars(arguments).values() if isinstance(each, Configurable)]
    with kept_if_refused(map(type, owners)):
        return traced_twice(
            lambda tracer: writes_of(definition, arguments, tracer),
            lambda writes: [each.node for each in writes],
            dtype,
        )


def form_of(value: Any, known: Arrays | None) -> Hashable:
    """Return a hashable key that describes `value`.

    The key has ids of objects in `value`. So keep `value` alive as long as the key is used.
    """
    if value is None or type(value) in (int, float, bool, str):
        return type(value), repr(value)
    if isinstance(value, list | tuple):
        return type(value), *[form_of(each, known) for each in value]
    if known is not None and is_array(value):
        return known.number(value), value.shape, value.dtype.kind
    if isinstance(value, Configurable):
        return type(value), *[
            (name, form_of(each, known if is_array(each) else None))
            for name, each in vars(value).items()
        ]
    if isinstance(value, Mapping):
        return "mapping", *[(key, form_of(each, known)) for key, each in value.items()]
    return described(value)


def if_traceable(make: Callable[[], T], cls: type) -> T | None:
    try:
        return make()
    except Untraceable as error:
        if not isinstance(error.__cause__, GpunnError):  # the definition raises this error again
            hint(cls, str(error))
        return None


named: set[type] = set()


def hint(cls: type, reason: str) -> None:
    if cls in named or is_built_in(cls) or needs_trace(cls):  # training will raise an error
        return
    named.add(cls)
    logger.warning(
        "gpunn: %s can't be compiled. The results are the same, but training is slower. Reason: %s",
        cls.__qualname__,
        reason,
    )


def writes_of(definition: Any, arguments: Arguments, tracer: Tracer) -> list[Write]:
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
        raise Untraceable("the code changes an array of integers")
    return writes


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "__cuda_array_interface__")


def bytes_of(array: Any) -> tuple[int, int]:
    host = isinstance(array, np.ndarray)
    interface = array.__array_interface__ if host else array.__cuda_array_interface__
    start: int = interface["data"][0]
    return start, start + array.nbytes


class Arrays:
    def __init__(self, dtype: np.dtype, bytes_of: BytesOf = bytes_of) -> None:
        self._dtype, self._bytes_of = dtype, bytes_of
        self.arrays: list[Array] = []
        self._bytes: list[tuple[int, int]] = []

    def number(self, array: Array) -> int:
        require_readable(array, self._dtype)
        start, stop = self._bytes_of(array)[:2]
        for number, (first, end) in enumerate(self._bytes):
            if start < end and first < stop:
                known = self.arrays[number]
                if (start, array.shape, array.dtype) == (first, known.shape, known.dtype):
                    return number
                raise Untraceable("arrays overlap")
        self.arrays.append(array)
        self._bytes.append((start, stop))
        return len(self.arrays) - 1


class Substitution:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer, self._known = tracer, Arrays(tracer.dtype)
        self.arrays: list[StandIn] = []
        self._objects: dict[int, tuple[Any, list[Any]]] = {}

    def of(self, value: Any) -> Any:
        if is_array(value):
            return self._of_array(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self.of, value))
        if isinstance(value, list | tuple):
            return type(value)(map(self.of, value))
        if isinstance(value, Mapping):
            return {key: self.of(each) for key, each in value.items()}
        return self._of_object(value) if isinstance(value, Configurable) else value

    def _of_array(self, array: Array) -> StandIn:
        number = self._known.number(array)
        if number == len(self.arrays):
            self.arrays.append(self._tracer.array(array))
        return self.arrays[number]

    def _of_object(self, value: Any) -> Any:
        # The traced code may change attributes.
        if id(value) not in self._objects:
            replaced = copied(value, lambda _, x: self._of_array(x) if is_array(x) else x)
            self._objects[id(value)] = replaced, state_of(replaced)
        return self._objects[id(value)][0]

    def check(self) -> None:
        if any(not same(state_of(replaced), before) for replaced, before in self._objects.values()):
            raise Untraceable("the code changes attributes")
