"""What printed Python functions with and without NumPy have in common."""

from __future__ import annotations

from collections.abc import Iterable

from gpunn.interchange.expressions.rows import RowFunction

__all__ = ["WIDTH", "definition"]

WIDTH = 100
"""Maximum characters of a line of generated Python."""


def definition(function: RowFunction, name: str, kind: str, lines: Iterable[str]) -> str:
    """Return the source of a function, whose arguments and result have the type `kind`."""
    arguments = [f"{each}: {kind}" for each in (*function.variables, *function.arrays)]
    head = f"def {name}({', '.join(arguments)}) -> {kind}:"
    if len(head) > WIDTH:
        head = "\n    ".join([f"def {name}(", *(f"{each}," for each in arguments)])
        head += f"\n) -> {kind}:"
    return "\n".join([head, *(f"    {line}" for line in (f'"""{function.summary}"""', *lines))])
