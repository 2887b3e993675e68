"""The public names: `__all__` of gpunn and its public modules, and the members of their classes."""

import inspect
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import gpunn

# Beside those in `gpunn.__all__`: modules that users of one subject import by name.
OTHERS = ("backends", "config", "experiment", "randomness", "sklearn", "sweep", "training")
NEEDS = {"sklearn": "sklearn"}


def is_there(name: str) -> bool:
    """Return whether a package is installed; a folder of tests may have its name."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def public_modules() -> dict[str, ModuleType]:
    names = [name for name in gpunn.__all__ if inspect.ismodule(getattr(gpunn, name))]
    usable = (name for name in OTHERS if name not in NEEDS or is_there(NEEDS[name]))
    full = ("gpunn", *(f"gpunn.{name}" for name in sorted([*names, *usable])))
    return {name: import_module(name) for name in full}


def public_objects() -> dict[str, Any]:
    """Return the public classes and functions, each once, by the shortest name that has it."""
    found: dict[int, tuple[str, Any]] = {}
    for module_name, module in public_modules().items():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found.setdefault(id(value), (f"{module_name}.{name}", value))
    return dict(found.values())


def public_members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that gpunn defines, as functions, by name.

    A member that overrides one counts as the class's own.
    """
    for name in dir(cls):
        owner = next((base for base in cls.__mro__ if name in vars(base)), object)
        if name.startswith("_") or not owner.__module__.startswith("gpunn."):
            continue
        value = vars(owner)[name]
        for wrapper, inner in ((property, "fget"), (cached_property, "func")):
            if isinstance(value, wrapper):
                value = getattr(value, inner)
        value = inspect.unwrap(value)  # static, class, and conditional methods
        if inspect.isfunction(value):
            yield name, value
