"""Base of the printers of Python functions, with and without NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gpunn.interchange.expressions.rows import RowFunction

WIDTH = 100


def definition(function: RowFunction, name: str, kind: str, lines: Iterable[str]) -> str:
    arguments = [f"{each}: {kind}" for each in (*function.variables, *function.arrays)]
    head = f"def {name}({', '.join(arguments)}) -> {kind}:"
    if len(head) > WIDTH:
        head = "\n    ".join([f"def {name}(", *(f"{each}," for each in arguments)])
        head += f"\n) -> {kind}:"
    return "\n".join([head, *(f"    {line}" for line in (f'"""{function.summary}"""', *lines))])


def number_of(module: str) -> Callable[[float], str]:
    return lambda value: repr(value).replace("inf", f"{module}.inf").replace("nan", f"{module}.nan")
