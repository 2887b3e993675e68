"""Keys of custom objects: methods of objects with equal keys have equal traces, at any time.

A key has the object's attributes, its code, and the variables and functions that the code uses. An
object has no key if a result of its code could depend on anything else, such as a file. Comparing
traces instead would support all code, but tracing takes much longer than making a key.
"""

from __future__ import annotations

import builtins
import dis
import math
import re
import weakref
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, cast

import numpy as np

from gpunn.configurable import Configurable, field_names, is_built_in
from gpunn.expressions.variables import LARGE, codes_in, names_in

SET_BY_NETWORK = ("values", "gradients", "key", "_network")

DIFFERENT = frozenset(("key", "_network", "learning_rate", "l2_penalty"))
"""Attributes that may differ although keys are equal, so traced code must not read them."""

READERS = DIFFERENT.union(("config", "format", "schedule"))
"""These attributes, and methods that read them."""

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
        *(range, reversed, round, sorted, sum, super, tuple, zip),
        *(each for each in vars(math).values() if isinstance(each, BuiltinFunctionType)),
        *(each for each in vars(np).values() if isinstance(each, np.ufunc)),
        *(
            each
            for each in (*vars(np).values(), *vars(builtins).values())
            if isinstance(each, type) and issubclass(each, np.generic | Exception)
        ),
    )
) - {np.void}
"""Functions and classes of Python and NumPy whose results depend only on their arguments. (The text
of an object may have a memory address. An `np.void` can change.)"""

PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))


@dataclass(frozen=True)
class Example:
    number: int = 0


UNTRACED = {*vars(Example), "__post_init__", "__slotnames__"} - {"number"}
"""Special members of classes that traced code does not use."""

INSTRUCTIONS = re.compile(
    "BINARY_|BUILD_(CONST_KEY_MAP|LIST|MAP|SLICE|TUPLE)|CALL|CHECK_EXC_MATCH|COMPARE_OP|CONTAINS_OP"
    "|COPY|DICT_|END_FOR|EXTENDED_ARG|FOR_ITER|GET_ITER|IS_OP|JUMP_|KW_NAMES|LIST_|MAKE_|MAP_ADD"
    "|LOAD_(ASSERTION|ATTR|CLOSURE|COMMON|CONST|DEREF|FAST|GLOBAL|METHOD|SMALL_INT|SUPER_ATTR)|NOP"
    "|NOT_TAKEN|POP_|PRECALL|PUSH_|RAISE_VARARGS|RERAISE|RESUME|RETURN_|SET_FUNCTION_|SWAP|TO_BOOL"
    "|STORE_(DEREF|FAST|SLICE|SUBSCR)|UNARY_|UNPACK_|YIELD_VALUE"
)
"""First parts of the names of instructions that only read arguments, attributes and variables. Code
with other instructions has no key. For example, the order of a set depends on memory addresses."""

WRAPPERS = {property: "fget", staticmethod: "__func__", classmethod: "__func__"}


class NoKey(Exception):  # noqa: N818 - the object is used without a key
    """The code may depend on more than a key can contain."""


class Keys:
    """Makes the keys of several objects.

    If a function or a `Configurable` occurs again, the new key only refers to the first key.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, object]] = {}

    def of(self, value: Any) -> Hashable:
        cls = type(value)
        if cls in PLAIN:
            return cls, repr(value)
        if cls in PURE and issubclass(cls, np.generic):
            return cls, value.dtype.str, value.tobytes()
        if cls in (list, tuple, dict) and len(value) <= LARGE:
            every = [*value, *value.values()] if cls is dict else value
            return cls, *map(self.of, every)
        if issubclass(cls, type | BuiltinFunctionType | np.ufunc) and value in PURE:
            return cast("Hashable", value)
        if isinstance(value, type) and value.__module__.startswith(PURE_MODULES):
            return self._once(value, self._class)
        if cls is FunctionType:
            return self._once(value, self._function)
        if isinstance(value, Configurable):
            return self._once(value, self._object)
        raise NoKey  # also for a custom class, whose constructor might depend on anything

    def _once(self, value: Any, make: Callable[[Any], Hashable]) -> Hashable:
        number = len(self._known)
        known, _ = self._known.setdefault(id(value), (number, value))
        return known if known < number else make(value)

    def _object(self, value: Configurable) -> Hashable:
        cls = type(value)
        is_layer = any(each.__module__ == "gpunn.layers.base" for each in cls.__mro__)
        left_out = {*(SET_BY_NETWORK if is_layer else ()), *(() if is_built_in(cls) else DIFFERENT)}
        items = [item for item in vars(value).items() if item[0] not in left_out]
        return self._once(cls, self._class), *map(self.of, chain(*items))

    def _class(self, cls: Any) -> Hashable:
        if cls.__module__.startswith(PURE_MODULES):
            members = [each for base in cls.__mro__[:-1] for each in vars(base).values()]
            kinds = FunctionType, *WRAPPERS  # a user may replace such members
            return cls, *(each for each in members if type(each) in kinds)
        if type(cls) is not type or not issubclass(cls, Configurable):
            raise NoKey
        items = [item for item in vars(cls).items() if item[0] not in UNTRACED]
        if any(name.startswith("__") for name, _ in items):
            raise NoKey
        members = list[Any]()
        for name, member in items:
            wrapped = WRAPPERS.get(type(member))
            members += [name, str(type(member)), getattr(member, wrapped) if wrapped else member]
        bases = [self._once(base, self._class) for base in cls.__mro__[1:-1]]
        return weakref.ref(cls), comparison(cls), *map(self.of, members), *bases

    def _function(self, function: FunctionType) -> Hashable:
        variables, code = function.__globals__, function.__code__
        module = str(variables.get("__name__"))
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        closed = {name: cell.cell_contents for name, cell in cells}
        cls = closed.pop("__class__", None)  # for `super`
        number, _ = self._known.get(id(cls), (cls, None))
        values = [*closed.values()]
        if module.startswith(PURE_MODULES):
            return code, number, *map(self.of, values)
        read, marks = variables_in(code), vars(function).keys() - {"operations_only"}
        if read is None or marks or module.startswith("gpunn."):
            raise NoKey
        for name, *attributes in read:
            # An ellipsis has no key.
            value = variables.get(name, cast("Any", function).__builtins__.get(name, ...))
            while isinstance(value, ModuleType) and attributes:
                # A module's `__getattr__` might import a package, or fail.
                value = vars(value).get(attributes.pop(0), ...)
            values.append(value)
        values += [function.__defaults__, function.__kwdefaults__]
        return code, number, *map(self.of, values)


def keys_of(values: Iterable[Any]) -> tuple[Hashable, ...] | None:
    try:
        return tuple(map(Keys().of, values))
    except (NoKey, RecursionError, ValueError):  # for example, an empty cell or a long integer
        return None


def comparison(cls: type) -> Hashable:
    """Return the code of the class's `__eq__`, which may compare only fields."""
    method = vars(cls).get("__eq__")
    if method is None:
        return None
    names = {*field_names(cls), "__class__", "NotImplemented"}
    if type(method) is not FunctionType or not names.issuperset(method.__code__.co_names):
        raise NoKey
    if method.__closure__:
        raise NoKey
    return method.__code__


@lru_cache(maxsize=1024)
def variables_in(code: CodeType) -> list[list[str]] | None:
    """Return each global variable in code, followed by the attributes that are read from it.

    The result is None if the code could read or change anything else.
    """
    names, variables, follows = names_in(code)[0], list[list[str]](), False
    if names & READERS or any(name.startswith("__") for name in names):
        return None
    for each in (each for one in codes_in(code) for each in dis.get_instructions(one)):
        changes_cell = each.opname == "STORE_DEREF" and each.argval in code.co_freevars
        has_class = each.opname == "LOAD_DEREF" and each.argval == "__class__"
        reads_class = has_class and not (follows and variables[-1] == ["super"])
        # Equal frozensets may have elements in different orders.
        unordered = each.opname == "LOAD_CONST" and isinstance(each.argval, frozenset)
        if changes_cell or reads_class or unordered or not INSTRUCTIONS.match(each.opname):
            return None
        if each.opname == "LOAD_GLOBAL":
            variables.append([each.argval])
            follows = True
        elif follows and each.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            variables[-1].append(each.argval)
        else:
            follows = follows and each.opname == "EXTENDED_ARG"
    return variables
