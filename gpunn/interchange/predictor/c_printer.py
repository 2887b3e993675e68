"""Functions of rows as C99."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from gpunn.expressions import ELEMENTARY, Node
from gpunn.interchange.expressions.loops import Loop, is_in_place, loops_of
from gpunn.interchange.expressions.rows import RowFunction
from gpunn.interchange.expressions.texts import (
    ARITHMETIC,
    ATOM,
    CHOICE,
    COMPARISON,
    PRODUCT,
    SUM,
    Form,
    Language,
    call,
    limited,
    named,
    prefix,
    statements,
)
from gpunn.interchange.predictor.c_text import constant, typed, wrapped

SOFTPLUS = "({0} > 0 ? {0} : 0) + log1p(exp(-fabs({0})))"

FORMS: Mapping[str, Form] = {
    **ARITHMETIC,
    **{name: call(name) for name in (*ELEMENTARY, "floor")},
    "abs": call("fabs"),
    "and": Form("({0} && {1})"),
    "as_number": prefix("(real)"),
    "maximum": named("{0} < {1} || {1} != {1} ? {1} : {0}", CHOICE),
    "minimum": named("{0} > {1} || {1} != {1} ? {1} : {0}", CHOICE),
    "not": prefix("!"),
    "or": Form("({0} || {1})"),
    "round": call("rint"),
    "sigmoid": Form("1 / (1 + exp(-{0}))", PRODUCT, ATOM),
    "sign": named("{0} > 0 ? 1 : {0} < 0 ? -1 : {0}", CHOICE),
    "softplus": named(SOFTPLUS, SUM),
    "tanh_softplus": named(f"tanh({SOFTPLUS})"),
    "where": Form("{0} ? {1} : {2}", CHOICE, COMPARISON, COMPARISON),
}

LIMITS = {
    "maximum": named("{0} < {1} ? {1} : {0}", CHOICE),
    "minimum": named("{0} > {1} ? {1} : {0}", CHOICE),
}
"""Shorter forms of functions whose second argument is a number; the result for NaN is again NaN."""


def c_function(function: RowFunction, name: str, real: str) -> str:
    # The arguments are variables, the number of elements if elementwise, arrays, and the output.
    language = LANGUAGES[real]
    lines: list[str] = []
    for loop in loops_of(function, "/"):
        lines += loop_lines(loop, "n" if function.is_elementwise else str(loop.size), language)
    vectors = [f"const~{real}~*{each}" for each in function.variables]
    sizes = ["int~n"] if function.is_elementwise else []
    arrays = [f"const~{real}~*{each}" for each in function.arrays]
    arguments = ", ".join([*vectors, *sizes, *arrays, f"{real}~*y"])
    note = "; y may be x" if is_in_place(function) else ""
    comment = wrapped(f"/* {function.summary.rstrip('.')}{note}. */", 3)
    head = wrapped(f"static inline void {name}({arguments})~{{", 8).replace("~", " ")
    body = typed("\n".join(f"    {line}" for line in lines), real)
    return f"{comment}\n{head}\n{body}\n}}\n"


def loop_lines(loop: Loop, size: str, language: Language) -> list[str]:
    # Outside of a loop, several terms declare variables in one scope.
    prefix = "v" if loop.start is not None else f"{loop.name}_v"
    lines, text = statements(loop.term, language, prefix)
    outer = f"for (int j = 0; j < {loop.groups}; j++)"
    if loop.start is None and loop.groups == 1:
        return [*lines, f"const real {loop.name} = {text};"]
    if loop.start is None:
        lines.append(f"{loop.name}[j] = {text};")
        return [f"real {loop.name}[{loop.groups}];", *block(outer, lines)]
    start, head = language.number(loop.start), f"for (int i = 0; i < {size}; i++)"
    variable = f"{loop.name}[j]" if loop.groups > 1 else loop.name
    lines.append(f"{variable if loop.name else f'y[{loop.element}]'} = {text};")
    inner = block(head, lines) if len(lines) > 1 or len(lines[0]) > 60 else [f"{head} {lines[0]}"]
    if loop.groups == 1:
        return [f"real {variable} = {start};", *inner] if loop.name else inner
    if not loop.name:
        return block(outer, inner)
    return [f"real {loop.name}[{loop.groups}];", *block(outer, [f"{variable} = {start};", *inner])]


def block(head: str, lines: Iterable[str]) -> list[str]:
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]


def line(node: Node, name: str, text: str) -> str:
    return f"const {'int' if node.kind == 'bool' else 'real'} {name} = {text};"


def number_in_c(value: float, dtype: np.dtype) -> str:
    if math.isnan(value):
        return "NAN"
    with np.errstate(over="ignore"):
        rounded = float(dtype.type(value))
    outside = rounded in (0, math.inf, -math.inf)  # of the range; compilers refuse such constants
    return constant(rounded if outside else value, dtype.itemsize)


LANGUAGES = {
    real: Language(limited(FORMS, LIMITS), partial(number_in_c, dtype=np.dtype(dtype)), line)
    for real, dtype in (("float", "float32"), ("double", "float64"))
}
