"""Compare, copy and restore the attributes of custom objects, which tracing must not change."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from operator import is_
from typing import Any

import numpy as np

from gpunn.configurable import Configurable, is_built_in
from gpunn.expressions.graph import Untraceable
from gpunn.expressions.stand_ins import StandIn

CONTAINERS = list, tuple, dict


def elements(value: object) -> list[Any]:
    if not isinstance(value, CONTAINERS):
        return []
    result: list[Any] = []
    for one in [*value, *value.values()] if isinstance(value, dict) else value:
        result.append(one)
        if isinstance(one, CONTAINERS):
            result += elements(one)
    return result


def same(values: Sequence[object], earlier: Sequence[object]) -> bool:
    if len(values) != len(earlier):
        return False
    return all(map(is_, values, earlier)) or all(map(equal, values, earlier))


def equal(a: object, b: object) -> bool:
    if a is b:
        return True
    if type(a) is not type(b) or not isinstance(a, int | float | str) or a != b:
        return False
    return a != 0 or repr(a) == repr(b)  # 0.0 and -0.0 differ


class Snapshot:
    def __init__(self, values: Sequence[object]) -> None:
        self._values = values
        self._elements = [(each, elements(each)) for each in values if isinstance(each, CONTAINERS)]

    def equals(self, values: Sequence[object]) -> bool:
        return same(values, self._values) and all(
            same(elements(each), earlier) for each, earlier in self._elements
        )


def described(value: object) -> Hashable:
    """Return a hashable key: type and `repr` if value is a number or string, otherwise its id."""
    if isinstance(value, str | int | float | complex | bytes | Enum | np.generic | None):
        return type(value), repr(value)
    return id(value)


@contextmanager
def kept_classes(values: Iterable[Any]) -> Iterator[None]:
    classes = {
        cls for value in values if isinstance(value, Configurable) for cls in type(value).__mro__
    }
    custom = [cls for cls in classes if cls is not object and not is_built_in(cls)]
    earlier = {cls: dict(vars(cls)) for cls in custom}
    try:
        yield
    finally:
        for cls, before in earlier.items():
            for name, value in dict(vars(cls)).items():
                if name not in before:
                    delattr(cls, name)
                elif value is not before[name]:
                    setattr(cls, name, before[name])


def copied(value: Any, replace: Callable[[str, Any], Any]) -> Any:
    """Copy `value`, and set each attribute of the copy to replace(name, attribute).

    If an attribute is a list, tuple or dict, `replace` gets a deep copy of the attribute.
    """
    result = copy.copy(value)
    for name, attribute in getattr(value, "__dict__", {}).items():
        if isinstance(attribute, list | tuple | dict):
            attribute = copy.deepcopy(attribute)
        object.__setattr__(result, name, replace(name, attribute))
    return result


NUMBERS: tuple[type, ...] = int, float, complex, np.generic, np.ndarray, StandIn
CONSTANTS: tuple[type, ...] = str, bytes, type(None), Enum, type, types.BuiltinFunctionType
PLAIN = (*NUMBERS, *CONSTANTS, types.ModuleType, range, list, tuple, dict, frozenset)
"""Types of attributes that are immutable, or whose changes `RecordingCache` detects."""


def state_of(value: Configurable) -> list[Any]:
    # A built-in object has no state.
    state = elements([getattr(value, name, None) for name in value.recorded_attributes()])
    return [*state, *inner_states(value, state)]


def inner_states(owner: Configurable, attributes: Sequence[Any]) -> list[Any]:
    # An attribute that could change without a new recording raises an `Untraceable`.
    parameters = [getattr(owner, name) for name in getattr(owner, "__dataclass_fields__", ())]
    state: list[Any] = []
    for each in attributes:
        kind = type(each).__name__
        if isinstance(each, Configurable):
            if not (is_built_in(type(each)) or any(each is one for one in parameters)):
                raise Untraceable(
                    f"an attribute holds a custom {kind} that is not the value of a field"
                )
            state += state_of(each)
        elif isinstance(each, types.FunctionType):
            if each.__closure__:
                raise Untraceable("an attribute that is a closure is not supported")
        elif not isinstance(each, PLAIN):
            raise Untraceable(f"an attribute of type {kind} is not supported")
    return state
