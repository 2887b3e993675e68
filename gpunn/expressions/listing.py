"""A graph as text, one line for each function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpunn.expressions.graph import ARRAY, NUMBER, Node, in_order

WITH_SHAPE = ("copy", "reshape")
"""Functions whose arguments do not determine the result's shape."""


def listed(results: Sequence[Node]) -> str:
    """Return a line for each function that the results need, and one for the results."""
    names: dict[int, str] = {}
    lines = list[str]()
    for node in in_order(results):
        names[id(node)] = f"t{len(lines) + 1}"
        if node.op == ARRAY:
            names[id(node)] = str(node.data)
        elif node.op == NUMBER:
            names[id(node)] = f"{node.data:.6g}"
        else:
            shape = [node.shape] if node.op in WITH_SHAPE else []
            others: list[Any] = [node.data] if node.data is not None and not shape else shape
            arguments = [names[id(each)] for each in node.args] + list(map(str, others))
            lines.append(f"{names[id(node)]} = {node.op}({', '.join(arguments)})")
    return "\n".join([*lines, f"return {', '.join(names[id(each)] for each in results)}"])
