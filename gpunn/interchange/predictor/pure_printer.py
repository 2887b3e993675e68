"""Functions of rows as Python functions without NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpunn.expressions import ELEMENTARY
from gpunn.interchange.expressions.loops import Loop, loops_of
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
    limited,
    named,
    statements,
)
from gpunn.interchange.predictor.python_printer import definition, number_of

SOFTPLUS = "max({0}, 0.0) + math.log1p(math.exp(-abs({0})))"

FORMS: Mapping[str, Form] = {
    **ARITHMETIC,
    **{name: Form(f"real(math.{name}, {{0}})") for name in (*ELEMENTARY, "floor")},
    "abs": Form("abs({0})"),
    "and": Form("({0} and {1})"),
    "as_number": Form("float({0})"),
    "divide": Form("quotient({0}, {1})"),
    "maximum": Form("larger({0}, {1})"),
    "minimum": Form("smaller({0}, {1})"),
    "not": Form("(not {0})"),
    "or": Form("({0} or {1})"),
    "round": Form("real(round, {0})"),
    "sigmoid": Form("1 / (1 + real(math.exp, -{0}))", PRODUCT, ATOM),
    "sign": Form("sign({0})"),
    "softplus": named(SOFTPLUS, SUM),
    "tanh": Form("math.tanh({0})"),
    "tanh_softplus": named(f"math.tanh({SOFTPLUS})"),
    "where": Form("{1} if {0} else {2}", CHOICE, COMPARISON, COMPARISON),
}
"""Functions such as `real` return NaN or infinity, as NumPy does; `math` raises errors instead."""

LIMITS = {"maximum": Form("max({0}, {1})"), "minimum": Form("min({0}, {1})")}
"""Shorter forms of functions whose second argument is a number: `max(nan, 0.0)` is NaN."""


def pure_source(function: RowFunction, name: str) -> str:
    lines: list[str] = []
    *before, last = loops_of(function, "//")
    for loop in before:
        lines += loop_lines(loop)
    return definition(function, name, "list[float]", [*lines, *last_lines(last, function)])


def loop_lines(loop: Loop) -> list[str]:
    lines, text = statements(loop.term, LANGUAGE)
    lines.append(f"{loop.name}[j] = {text}" if loop.groups > 1 else f"{loop.name} = {text}")
    outer = f"for j in range({loop.groups}):"
    if loop.start is None and loop.groups == 1:
        return lines
    if loop.start is None:
        return [f"{loop.name} = [0.0] * {loop.groups}", *block(outer, lines)]
    start, inner = LANGUAGE.number(loop.start), block(f"for i in range({loop.size}):", lines)
    if loop.groups == 1:
        return [f"{loop.name} = {start}", *inner]
    return [f"{loop.name} = [{start}] * {loop.groups}", *block(outer, inner)]


def block(head: str, lines: Iterable[str]) -> list[str]:
    return [head, *(f"    {line}" for line in lines)]


def last_lines(loop: Loop, function: RowFunction) -> list[str]:
    lines, text = statements(loop.term, LANGUAGE)
    head = f"for i in range({'len(x)' if function.is_elementwise else loop.size})"
    outer = f"for j in range({loop.groups})" if loop.groups > 1 else ""
    if function.is_elementwise and len(function.variables) == 1 and not function.arrays:
        head = "for z in x"
        lines, text = [line.replace("x[i]", "z") for line in lines], text.replace("x[i]", "z")
    if not lines and len(text) + len(outer) + len(head) < 80:
        return [f"return [{' '.join((text, outer, head)).replace('  ', ' ')}]"]
    inner = block(f"{head}:", [*lines, f"y.append({text})"])
    return ["y = []", *(block(f"{outer}:", inner) if outer else inner), "return y"]


LANGUAGE = Language(limited(FORMS, LIMITS), number_of("math"))
