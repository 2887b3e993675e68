"""The names of the project's kernels, as the source of the CuPy backend spells them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

BACKEND = Path(__file__).parents[2] / "gpunn" / "backends" / "cupy"
PART = re.compile(r"gpunn_(?:\w|%\(\w+\)s|\{\}|\0)+")
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\}|\0")
NOT_KERNELS = {"diagnosis.py"}
"""Files whose kernels no training run asks for."""


def strings(tree: ast.AST) -> Iterator[str]:
    """Yield every string, with a zero byte for each value put into an f-string."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(value) for value in node.values}
            yield "".join(v.value if isinstance(v, ast.Constant) else "\0" for v in node.values)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            yield node.value


def patterns() -> set[str]:
    """Return regular expressions, one for each way in which a kernel's name is written."""
    found = set()
    for path in BACKEND.rglob("*.py"):
        if path.name not in NOT_KERNELS:
            for text in strings(ast.parse(path.read_text())):
                found |= {PLACEHOLDER.sub(r"\\w+", name) for name in PART.findall(text)}
    return found


def is_ours(kernel: str) -> bool:
    return kernel.startswith("gpunn_")
