"""Keys of custom objects: methods of objects with equal keys have equal traces, at any time.

A key has the object's attributes, its code, and the variables and functions that the code uses. An
object has no key if a result of its code could depend on anything else, such as a file.
"""

from __future__ import annotations

import builtins
import dis
import math
import weakref
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, cast

import numpy as np

from gpunn.configurable import Configurable, field_names, is_built_in
from gpunn.expressions.variables import LARGE, codes_in, value_of

SET_BY_NETWORK = ("values", "gradients", "key", "_network")

DIFFERENT = frozenset(("key", "_network", "learning_rate", "l2_penalty"))
"""Attributes that may differ although keys are equal, so traced code must not read them."""

PURE_MODULES = tuple(
    f"gpunn.{name}"
    for name in (
        *("activations", "configurable", "expressions", "initializers", "layers", "losses"),
        *("metrics", "optimizers", "parameters", "schedules"),
    )
)

PURE = frozenset(
    (
        *(abs, all, any, bool, dict, enumerate, float, int, isinstance, len, list, max, min, pow),
        *(range, reversed, round, sorted, str, sum, super, tuple, zip),
        *(each for each in vars(math).values() if isinstance(each, BuiltinFunctionType)),
        *(each for each in vars(np).values() if isinstance(each, np.ufunc)),
        *(
            each
            for each in (*vars(np).values(), *vars(builtins).values())
            if isinstance(each, type) and issubclass(each, np.generic | Exception)
        ),
    )
)
"""Functions and classes of Python and NumPy whose results depend only on their arguments."""

PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))


@dataclass(frozen=True)
class Example:
    number: int = 0


UNTRACED = {*vars(Example), "__post_init__", "__slotnames__"} - {"number"}
"""Special members of classes that traced code does not use."""

REACHING = (
    *("DELETE_ATTR", "DELETE_GLOBAL", "IMPORT", "LOAD_BUILD_CLASS", "LOAD_NAME"),
    *("STORE_ATTR", "STORE_GLOBAL"),
)
"""Instructions that read or change more than arguments, attributes and global variables."""


class NoKey(Exception):  # noqa: N818 - the object is used without a key
    """The code may depend on more than a key can contain."""


class Keys:
    """Makes the keys of several objects; the second key of an object refers to the first."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, object]] = {}

    def of(self, value: Any) -> Hashable:
        cls = type(value)
        if cls in PLAIN or (cls in PURE and issubclass(cls, np.generic)):
            return cls, repr(value)
        if issubclass(cls, list | tuple | dict) and len(value) <= LARGE:
            every = [*value, *value.values()] if isinstance(value, dict) else value
            return cls, *map(self.of, every)
        if issubclass(cls, type | BuiltinFunctionType | np.ufunc) and value in PURE:
            return cast("Hashable", value)
        number = len(self._known)
        known, _ = self._known.setdefault(id(value), (number, value))
        if known < number:
            return known
        if cls is FunctionType:
            return self._function(value)
        return self._object(value) if isinstance(value, Configurable) else self._class(value)

    def _object(self, value: Configurable) -> Hashable:
        cls = type(value)
        if is_built_in(cls):
            return cls, *[self.of(getattr(value, name)) for name in field_names(cls)]
        left_out = DIFFERENT.union(SET_BY_NETWORK)
        items = [item for item in vars(value).items() if item[0] not in left_out]
        return self.of(cls), *map(self.of, chain(*items))

    def _class(self, cls: Any) -> Hashable:
        if isinstance(cls, type) and cls.__module__.startswith(PURE_MODULES):
            return cls
        if type(cls) is not type or not issubclass(cls, Configurable):
            raise NoKey
        items = [item for item in vars(cls).items() if item[0] not in UNTRACED]
        if any(name.startswith("__") for name, _ in items):
            raise NoKey
        members = [(name, getattr(it, "__func__", getattr(it, "fget", it))) for name, it in items]
        return weakref.ref(cls), *map(self.of, (*chain(*members), *cls.__mro__[1:-1]))

    def _function(self, function: FunctionType) -> Hashable:
        variables, code = function.__globals__, function.__code__
        module = str(variables.get("__name__"))
        values = [value_of(each, "cell_contents") for each in function.__closure__ or ()]
        if module.startswith(PURE_MODULES):
            return code, *map(self.of, values)
        names, read = names_and_variables(code) or (DIFFERENT, [])
        is_marked = bool(vars(function).keys() - {"operations_only"})
        if is_marked or not names.isdisjoint(DIFFERENT) or module.startswith("gpunn."):
            raise NoKey
        for name, *attributes in read:
            value = variables.get(name, getattr(builtins, name, None))
            while isinstance(value, ModuleType) and attributes:
                # A module's `__getattr__` might import a package, or fail; an ellipsis has no key.
                value = vars(value).get(attributes.pop(0), ...)
            values.append(value)
        values += [function.__defaults__, function.__kwdefaults__]
        return code, *map(self.of, values)


@lru_cache(maxsize=1024)
def names_and_variables(code: CodeType) -> tuple[frozenset[str], list[list[str]]] | None:
    """Return all names in code, and each global variable with the attributes that are read from it.

    The result is None if the code could read or change anything else.
    """
    codes, variables, follows = list(codes_in(code)), list[list[str]](), False
    names = frozenset(name for one in codes for name in one.co_names)
    for each in (each for one in codes for each in dis.get_instructions(one)):
        changes_cell = each.opname == "STORE_DEREF" and each.argval in code.co_freevars
        if changes_cell or each.opname.startswith(REACHING):
            return None
        if each.opname == "LOAD_GLOBAL":
            variables.append([each.argval])
            follows = True
        elif follows and each.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            variables[-1].append(each.argval)
        else:
            follows = follows and each.opname == "EXTENDED_ARG"
    return None if any(name.startswith("__") for name in names) else (names, variables)
