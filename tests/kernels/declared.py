"""The names of the project's kernels, read from the source of the CuPy backend."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

BACKEND = Path(__file__).parents[2] / "gpunn" / "backends" / "cupy"
PART = re.compile(r"gpunn_(?:\w|%\(\w+\)s|\{\}|\0)+")
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\}|\0")
NOT_KERNELS = {"diagnosis.py"}
"""Files with kernels that no training run uses."""


def strings(tree: ast.AST) -> Iterator[str]:
    """Yield every string, with a zero byte for each value in an f-string."""
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
    """Return regular expressions, one for each spelling of kernel names in the source."""
    patterns = set()
    for path in BACKEND.rglob("*.py"):
        if path.name not in NOT_KERNELS:
            for text in strings(ast.parse(path.read_text())):
                patterns |= {PLACEHOLDER.sub(r"\\w+", name) for name in PART.findall(text)}
    return patterns


def is_of_project(kernel: str) -> bool:
    return kernel.startswith("gpunn_")


def any_of(formulas: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of activations' names, some of which contain others."""
    return re.compile("|".join(sorted(formulas, key=len, reverse=True)))


def kinds(tables: dict[str, list[str]]) -> Callable[[str], str]:
    """Return a function of a kernel's name.

    Kernels of a kind differ only in a formula or rule that another kernel has alone.
    """
    activation, rule = any_of(tables["FORMULAS"]), any_of(tables["RULES"])
    alone = re.compile(rf"gpunn_({activation.pattern})(_gradient)?")
    variant = re.compile(rf"({rule.pattern})(?=_if_finite|_clipped)")

    def kind(kernel: str) -> str:
        return kernel if alone.fullmatch(kernel) else activation.sub("", variant.sub("", kernel))

    return kind


def of_each_kind(
    sources: Iterable[dict[str, Any]], tables: dict[str, list[str]]
) -> Iterator[dict[str, Any]]:
    """Yield the largest source of each kind, of those that training uses if there are any."""
    kind, chosen = kinds(tables), {}
    for source in sorted(sources, key=lambda source: (source["trained"], len(source["text"]))):
        kernels = tuple(map(kind, filter(is_of_project, source["kernels"])))
        if kernels:
            chosen[kernels] = source
    yield from chosen.values()
