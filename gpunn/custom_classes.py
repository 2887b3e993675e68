"""Record the modules of a network's custom classes in model files, and import such modules."""

import dataclasses
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from gpunn.configurable import Configurable, is_built_in, known
from gpunn.errors import ArgumentError, suggest

CustomClasses: TypeAlias = dict[str, dict[str, str]]
"""Maps a kind, such as "layer", to a dict from classes' names to "package.module:Class". A class
that inherits its `name` is recorded under `NAMELESS`."""

NAMELESS = ""

CLASS_PATH = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_][\w.<>]*)")


def custom_classes(objects: Iterable[Configurable]) -> CustomClasses:
    classes: CustomClasses = {}
    for each in _named(objects):
        cls = type(each)
        if not is_built_in(cls):
            name = each.name if "name" in vars(cls) else NAMELESS
            kind = next(name for name, base in _kinds().items() if issubclass(cls, base))
            classes.setdefault(kind, {})[name] = f"{cls.__module__}:{cls.__qualname__}"
    return classes


def _named(value: Any) -> Iterator[Configurable]:
    if isinstance(value, Configurable):
        yield value
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _named(item)


def _kinds() -> dict[str, type[Configurable]]:
    return {base.__name__.lower(): base for base in Configurable.__subclasses__()}


def require_classes(recorded: Mapping[str, Mapping[str, str]], *, allow_imports: bool) -> None:
    # `recorded` may come from an untrusted file, and importing a module runs the module's code. A
    # custom class with the recorded name is accepted from any module, because it may have moved.
    kinds = _kinds()
    for kind, classes in recorded.items():
        if kind not in kinds:
            raise ArgumentError(
                f"custom: unknown kind of class {kind!r:.80}; {suggest(kind, kinds)}"
            )
        for name, path in classes.items():
            if name == NAMELESS:
                raise ArgumentError(
                    f"the {kind} class {path!r:.80} does not define `name`, so a file can't refer "
                    "to it. Define `name`, build the network in Python, and read the file with "
                    "load_weights"
                )
            defined = known(kinds[kind]).get(name)
            if defined is None or is_built_in(defined):
                _find(kinds[kind], name, path, f"{kind} {name!r:.80}", allow_imports)


def _find(base: type[Configurable], name: str, path: str, title: str, allow_imports: bool) -> None:
    match = CLASS_PATH.fullmatch(path)
    if match is None:
        raise ArgumentError(f'custom: expected "package.module:Class"; got {path!r:.80}')
    module, qualified = match.groups()
    if module == "__main__" or "<locals>" in qualified:
        origin = "a script or notebook" if module == "__main__" else f"a function of {module!r}"
        raise ArgumentError(
            f"{title} is the class {qualified}, which was defined in {origin}. First define this "
            "class, or move it to a module and import the module"
        )
    if not allow_imports:  # even an attribute lookup in the module could import another module
        if module in sys.modules:
            raise ArgumentError(
                f"{title} is not defined in the imported module {module!r}; the class {qualified} "
                "was removed or has another `name`"
            )
        raise ArgumentError(
            f"{title} is defined in module {module!r}: import it first. If you trust the file and "
            "the module, you can pass --allow-imports (in Python allow_imports=True) instead, "
            "which runs the module's code"
        )
    try:
        cls: Any = importlib.import_module(module)
        for part in qualified.split("."):
            cls = getattr(cls, part)
    except Exception as error:  # the module's code may raise any exception
        raise ArgumentError(
            f"{title} is the class {qualified!r} of module {module!r}, which can't be imported: "
            f"{type(error).__name__}: {error}. Python searches the current folder, PYTHONPATH and "
            "the installed packages"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ArgumentError(f"{title}: {path!r} is not a subclass of {base.__name__}")
    if vars(cls).get("name") != name:
        raise ArgumentError(
            f"{title}: the class {path!r} has `name` = {cls.name!r}; in the class, set "
            f"`name` = {name!r}"
        )
