"""Functions taken from a template: those that are used, and what they use in turn."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Collection
from dataclasses import dataclass
from types import ModuleType

__all__ = ["Template", "imports_of"]

STAND_IN = "Stand in for"


@dataclass(frozen=True)
class Function:
    """A function's name, its text, and the names that it reads."""

    name: str
    text: str
    uses: set[str]


class Template:
    """The source of modules, function by function.

    Parameters
    ----------
    modules : module
        Their top-level functions can be taken one by one. Those whose docstring begins with
        `STAND_IN` are left out: another module, or the predictor, has the function of that name.
    """

    def __init__(self, *modules: ModuleType) -> None:
        self._functions: dict[str, Function] = {}
        for function in (each for module in modules for each in functions_of(module)):
            if function.name in self._functions:
                raise ValueError(f"templates: two functions are called {function.name!r}")
            self._functions[function.name] = function

    def __contains__(self, name: str) -> bool:
        """Return whether there is a function of this name."""
        return name in self._functions

    def take(self, wanted: Collection[str]) -> dict[str, str]:
        """Return the texts of functions, and of those that they use, in the modules' order."""
        found: set[str] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name in self._functions and name not in found:
                found.add(name)
                waiting += self._functions[name].uses
        return {name: each.text for name, each in self._functions.items() if name in found}


@functools.cache
def functions_of(module: ModuleType) -> list[Function]:
    """Return a module's top-level functions, those that stand in for others left out."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    return [
        Function(node.name, "\n".join(lines[node.lineno - 1 : node.end_lineno]), names_in(node))
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
        and not (ast.get_docstring(node) or "").startswith(STAND_IN)
    ]


def names_in(node: ast.AST) -> set[str]:
    """Return the names that code reads from outside: not its own variables, nor annotations."""
    annotations = {
        id(each)
        for function in ast.walk(node)
        if isinstance(function, ast.FunctionDef)
        for annotation in (function.returns, *(a.annotation for a in arguments_of(function)))
        if annotation is not None
        for each in ast.walk(annotation)
    }
    names = [each for each in ast.walk(node) if isinstance(each, ast.Name)]
    own = {each.id for each in names if isinstance(each.ctx, ast.Store)}
    for each in ast.walk(node):
        if isinstance(each, ast.arg):
            own.add(each.arg)
        elif isinstance(each, ast.FunctionDef | ast.ExceptHandler) and each.name and each != node:
            own.add(each.name)
    return {each.id for each in names if id(each) not in annotations} - own


def arguments_of(function: ast.FunctionDef) -> list[ast.arg]:
    """Return the parameters of a function."""
    given = function.args
    rest = [each for each in (given.vararg, given.kwarg) if each is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest]


def imports_of(code: str, modules: Collection[str]) -> list[str]:
    """Return those of the modules that the code uses."""
    nodes = (each for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Attribute))
    used = {each.value.id for each in nodes if isinstance(each.value, ast.Name)}
    return [name for name in modules if name.split(" as ")[-1] in used]
