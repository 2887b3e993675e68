"""The global variables and closures that the methods of a custom class read."""

from __future__ import annotations

import dis
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from gpunn.configurable import Configurable, is_built_in
from gpunn.expressions.graph import Untraceable
from gpunn.expressions.tracing import once

LIBRARIES = sys.stdlib_module_names | frozenset(
    ("gpunn", "numpy", "scipy", "numba", "cupy", "torch", "array_api_compat", "array_api_strict")
)

LARGE = 100
"""Maximum number of elements to compare. More elements would take too long."""

MUTATORS = frozenset(("append", "extend", "insert", "pop", "clear", "remove", "update", "add"))


class Globals:
    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__ = values


def variables_of(cls: type) -> list[tuple[object, str]]:
    """Return the owners and names of the outside variables that a class's methods read.

    The owner is a module, the global variables of a function, or a cell of a closure. Variables
    that the code itself changes, and large lists, tuples and dicts, are left out.
    """
    return [(owner, name) for owner, name, changes in used_variables(cls) if not changes]


def used_variables(cls: type) -> list[tuple[object, str, bool]]:
    return [] if is_built_in(cls) else once(("variables", cls), lambda: found_variables(cls))


def found_variables(cls: type) -> list[tuple[object, str, bool]]:
    pending = [
        function
        for each in cls.__mro__
        if issubclass(each, Configurable) and not is_built_in(each)
        for function in map(function_of, vars(each).values())
        if function is not None
    ]
    found: dict[tuple[int, str], tuple[object, str, bool]] = {}
    known = set[int]()
    while pending:
        function = pending.pop()
        variables, package = function.__globals__, str(function.__globals__.get("__name__"))
        if id(function) in known or package.partition(".")[0] in LIBRARIES:
            continue
        known.add(id(function))
        names, stored = names_in(function.__code__)
        containers = {n for n in names if isinstance(variables.get(n), list | dict | tuple)}
        mutates = bool(names & MUTATORS)
        changed = stored | {n for n in containers if mutates or len(variables[n]) > LARGE}
        pairs: list[tuple[object, str]] = []
        for name in sorted(names & variables.keys()):
            pairs.append((Globals(variables), name))
            module = variables[name]
            if isinstance(module, ModuleType) and module.__name__.split(".")[0] not in LIBRARIES:
                pairs += [(module, each) for each in sorted(names & vars(module).keys())]
        pairs += [(cell, "cell_contents") for cell in function.__closure__ or ()]
        defaults = [x for x in function.__defaults__ or () if isinstance(x, list | dict | set)]
        pairs += [(Globals({"<default>": each}), "<default>") for each in defaults]
        for owner, name in pairs:
            key = id(owner.__dict__) if isinstance(owner, Globals) else id(owner)
            changes = isinstance(owner, Globals) and name in (*changed, "<default>")
            found.setdefault((key, name), (owner, name, changes))
            value = value_of(owner, name)
            pending += [value] if isinstance(value, FunctionType) else []
    return list(found.values())


@contextmanager
def kept_if_refused(classes: Iterable[type]) -> Iterator[None]:
    # Also restore elements of lists, dicts and sets, attributes of objects, and states of random
    # number generators. An iterator can't be restored, so it is refused before the code runs.
    used = [each for cls in classes for each in used_variables(cls)]
    values = [value_of(owner, name) for owner, name, _ in used]
    for (_, name, _), value in zip(used, values, strict=True):
        if hasattr(type(value), "__next__"):
            raise Untraceable(f"the code reads the iterator {name}, which can't be restored")
    undo = [restorer(value) for value in values]
    try:
        yield
    except Untraceable:
        for (owner, name, _), value, restore in zip(used, values, undo, strict=True):
            if value_of(owner, name) is not value:
                setattr(owner, name, value)
            restore()
        raise


def restorer(value: Any) -> Callable[[], object]:
    if isinstance(value, list):
        return partial(value.__setitem__, slice(None), value.copy())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    constant = isinstance(value, type | ModuleType | FunctionType)
    inner = value if isinstance(value, dict | set) else getattr(value, "__dict__", None)
    return (lambda: None) if constant or inner is None else partial(replace, inner, inner.copy())


def replace(contents: Any, before: Any) -> None:
    for each in set(contents) - set(before):
        contents.pop(each) if isinstance(contents, dict) else contents.remove(each)
    contents.update(before)


def value_of(owner: object, name: str) -> Any:
    try:
        return getattr(owner, name, None)
    except ValueError:  # an empty cell
        return None


def function_of(member: object) -> FunctionType | None:
    inner = getattr(member, "fget", None) or getattr(member, "__func__", member)
    return inner if isinstance(inner, FunctionType) else None


@lru_cache(maxsize=1024)
def names_in(code: CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Return all names in code, and the names of global variables that the code sets."""
    codes = list(codes_in(code))
    found = [each for one in codes for each in dis.get_instructions(one)]
    stored = frozenset(each.argval for each in found if each.opname == "STORE_GLOBAL")
    return frozenset(name for one in codes for name in one.co_names), stored


def codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from codes_in(each)
