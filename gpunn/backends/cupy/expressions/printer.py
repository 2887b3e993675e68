"""Print functions of a graph as CUDA C++."""

import re
from collections.abc import Sequence

from gpunn.configurable import Configurable
from gpunn.expressions import ELEMENTARY, NUMBER, Node, Untraceable

C_NAMES = {"float": "T", "int": "long long", "bool": "bool"}

TEXTS = {
    **{name: f"{name}({{0}})" for name in (*ELEMENTARY, "floor", "softplus")},
    "copy": "{0}",
    "negative": "-{0}",
    "abs": "fabs({0})",
    "round": "rint({0})",
    "sign": "signum({0})",
    "sigmoid": "logistic({0})",
    "tanh_softplus": "tanh(softplus({0}))",
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "quotient": "({0} - ({0} % {1} + {1}) % {1}) / {1}",
    "remainder": "({0} % {1} + {1}) % {1}",
    "maximum": "maximum<{kind}>({0}, {1})",
    "minimum": "minimum<{kind}>({0}, {1})",
    "greater": "{0} > {1}",
    "at_least": "{0} >= {1}",
    "equal": "{0} == {1}",
    "where": "{0} ? {1} : {2}",
}
"""The C++ expression of each function of a graph; the function's arguments are names or numbers."""

OF_BOOLEANS = {
    "subtract": "{0} != {1}",
    "multiply": "{0} && {1}",
    "maximum": "{0} || {1}",
    "minimum": "{0} && {1}",
}

LITERALS = {f"{number!r}" for number in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)}
"""Numbers that are part of the source, because the compiler can simplify expressions with them."""


class Printer:
    """Prints CUDA C++. Most numbers become kernel parameters `c0`, ..., to reuse kernels."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.numbers: list[float] = []
        self._count = 0

    @property
    def constants(self) -> tuple[str, ...]:
        return tuple(self._names.values())

    def number(self, value: float) -> str:
        key = repr(value)
        if key in LITERALS:
            return f"(T){value:g}"
        if key not in self._names:
            self._names[key] = f"c{len(self.numbers)}"
            self.numbers.append(value)
        return self._names[key]

    def name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def text(self, node: Node, arguments: Sequence[str]) -> str:
        if node.op not in TEXTS:
            raise Untraceable(f"the function {node.op} is not supported in CUDA kernels")
        of_integers = any(each.kind == "int" for each in node.args if each.op != NUMBER)
        given = [
            f"(long long){each.data:.0f}"
            if of_integers and each.op == NUMBER and each.kind == "int"
            else name
            for each, name in zip(node.args, arguments, strict=True)
        ]
        texts = {**TEXTS, **OF_BOOLEANS} if node.kind == "bool" else TEXTS
        return texts[node.op].format(*given, kind=C_NAMES[node.kind])


def identifier(part: Configurable) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", part.name or type(part).__name__)
