"""Custom classes that a network consists of: where they are defined, and how a file needs them.

A model file names each layer, activation and initializer. For a class that is not one of gpunn's,
it also records where the class is, such as "mylayers:Residual".
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from gpunn.configurable import Configurable, is_built_in, known
from gpunn.errors import ArgumentError, suggest

__all__ = ["CustomClasses", "custom_classes", "require_classes"]

CustomClasses: TypeAlias = dict[str, dict[str, str]]
"""By the kind, such as "layer", and by the name: the class, as "package.module:Class".

A class that inherits its name is recorded under `NAMELESS`: in a file that name means its base.
"""

NAMELESS = ""

CLASS_PATH = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_][\w.<>]*)")


def custom_classes(objects: Iterable[Configurable]) -> CustomClasses:
    """Return the custom classes of objects, and of objects that are values of their fields."""
    found: CustomClasses = {}
    for each in _named(objects):
        cls = type(each)
        if not is_built_in(cls):
            name = each.name if "name" in vars(cls) else NAMELESS
            found.setdefault(_kind_of(cls), {})[name] = f"{cls.__module__}:{cls.__qualname__}"
    return found


def _named(value: Any) -> Iterator[Configurable]:
    """Yield the objects that the configuration of a value names."""
    if isinstance(value, Configurable):
        yield value
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _named(item)


def _kind_of(cls: type[Configurable]) -> str:
    return next(name for name, base in _kinds().items() if issubclass(cls, base))


def _kinds() -> dict[str, type[Configurable]]:
    return {base.__name__.lower(): base for base in Configurable.__subclasses__()}


def require_classes(recorded: Mapping[str, Mapping[str, str]], *, allow_imports: bool) -> None:
    """Raise an error unless every recorded class is defined; import modules if that is allowed.

    The record is that of `custom_classes`, and may come from an untrusted file; an import runs a
    module's code. A custom class that is defined and has the recorded name serves, whatever its
    module: it may have been moved. Raise an ArgumentError if a class is not defined and may not or
    can't be imported, or the record is damaged.
    """
    kinds = _kinds()
    for kind, classes in recorded.items():
        if kind not in kinds:
            raise ArgumentError(f"custom: there is no {kind!r:.80}; {suggest(kind, kinds)}")
        for name, path in classes.items():
            if name == NAMELESS:
                raise ArgumentError(
                    f"the {kind} class {path!r:.80} has no attribute `name` of its own, by which a "
                    "file could name it; give it one, make the network in Python, and take the "
                    "file's arrays by load_weights"
                )
            here = known(kinds[kind]).get(name)
            if here is None or is_built_in(here):
                _find(kinds[kind], name, path, f"{kind} {name!r:.80}", allow_imports)


def _find(base: type[Configurable], name: str, path: str, title: str, allow_imports: bool) -> None:
    """Import the module of a class, unless that has been done, and check the class."""
    match = CLASS_PATH.fullmatch(path)
    if match is None:
        raise ArgumentError(f'custom: expected "package.module:Class"; got {path!r:.80}')
    module, qualified = match.groups()
    if module == "__main__" or "<locals>" in qualified:
        place = "a script or notebook" if module == "__main__" else f"a function of {module!r}"
        raise ArgumentError(
            f"{title} is the class {qualified}, which was defined in {place}; define it here "
            "first, or move it to a module that can be imported, and import that"
        )
    if not allow_imports:  # looking for the class in its module could already import another one
        if module in sys.modules:
            raise ArgumentError(
                f"{title} is none of the classes of module {module!r}, which is imported here; its "
                f"class {qualified} has been removed, or has another `name`"
            )
        raise ArgumentError(
            f"{title} is defined in module {module!r}: import it first or, if you trust the file "
            "and the module, pass --allow-imports (in Python allow_imports=True), which runs the "
            "module's code"
        )
    try:
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
    except Exception as error:  # of any kind, since this runs the module's code
        raise ArgumentError(
            f"{title} is defined in module {module!r}, which can't be imported or has no class "
            f"{qualified!r}: {type(error).__name__}: {error}. Python looks for modules in the "
            "current folder, in PYTHONPATH and among the installed packages"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ArgumentError(f"{title}: {path!r} is not a subclass of {base.__name__}")
    if vars(found).get("name") != name:
        raise ArgumentError(
            f"{title}: the class {path!r} has another `name`: {found.name!r}; set it to {name!r}"
        )
