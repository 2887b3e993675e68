"""Copies definitions from the source of modules, together with the definitions that they use."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

STAND_IN = "Placeholder for"


@dataclass(frozen=True)
class Definition:
    name: str
    text: str
    uses: set[str]


class Template:
    """The definitions in modules, except placeholders.

    A placeholder is a definition whose docstring begins with `STAND_IN`.
    """

    def __init__(self, *modules: ModuleType) -> None:
        self._definitions: dict[str, Definition] = {}
        for each in (each for module in modules for each in definitions_of(module)):
            if each.name in self._definitions:
                raise ValueError(f"templates: two definitions are called {each.name!r}")
            self._definitions[each.name] = each

    def __contains__(self, name: str) -> bool:
        return name in self._definitions

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def take(self, wanted: Collection[str]) -> dict[str, str]:
        """Return {name: source} of `wanted` definitions and of all that these use, recursively."""
        used: set[str] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name in self._definitions and name not in used:
                used.add(name)
                waiting += self._definitions[name].uses
        return {name: each.text for name, each in self._definitions.items() if name in used}


@functools.cache
def definitions_of(module: ModuleType) -> list[Definition]:
    source = inspect.getsource(module)
    lines = source.splitlines()
    definitions = []
    for node, following in pairwise([*ast.parse(source).body, ast.Pass()]):
        documented = node
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name, text = node.name, ast.get_docstring(node) or ""
        elif (name := constant_of(node)) and name != "__all__":
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                documented, text = following, str(following.value.value)
        else:
            continue
        if not text.startswith(STAND_IN):
            decorators: list[ast.expr] = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(each.lineno for each in decorators)])
            part = "\n".join(lines[first - 1 : documented.end_lineno])
            definitions.append(Definition(name, part, names_in(node)))
    return definitions


def constant_of(node: ast.stmt) -> str:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return targets[0].id if isinstance(targets[0], ast.Name) else ""


def names_in(node: ast.AST) -> set[str]:
    names = [each for each in ast.walk(node) if isinstance(each, ast.Name)]
    local = {each.id for each in names if isinstance(each.ctx, ast.Store)}
    for each in ast.walk(node):
        if isinstance(each, ast.arg):
            local.add(each.arg)
        elif isinstance(each, ast.FunctionDef | ast.ExceptHandler) and each.name and each != node:
            local.add(each.name)
    return {each.id for each in names} - local


def imports_of(parts: Collection[str], modules: Collection[str]) -> list[str]:
    used = set().union(*map(objects_in, parts))
    return [name for name in modules if name.split(" as ")[-1] in used]


@functools.lru_cache(1024)  # most parts are definitions of templates
def objects_in(code: str) -> set[str]:
    nodes = (each for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Attribute))
    return {each.value.id for each in nodes if isinstance(each.value, ast.Name)}
