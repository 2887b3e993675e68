"""Formulas of a graph as text in a programming language."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gpunn.expressions import ARRAY, NUMBER, Node, in_order

ATOM, PRODUCT, SUM, COMPARISON, CHOICE = range(5)
"""The precedence of a text's operator; a call or a name is an atom."""

MAX_TEXT = 72
"""Maximum number of characters in a formula; parts of a longer formula become variables."""


@dataclass(frozen=True)
class Form:
    """A function as text, in which `{0}`, `{1}`, ... are the arguments.

    `level` is the precedence of the text's operator: ATOM binds tightest. An argument needs
    parentheses if the argument's level is above a limit. The limit is `first` for the first
    argument, and `others` for all other arguments. If `names` is true, the text may repeat
    arguments, so all arguments must be names or numbers.
    """

    text: str
    level: int = ATOM
    first: int = CHOICE
    others: int = CHOICE
    names: bool = False


def call(function: str) -> Form:
    return Form(f"{function}({{0}})")


def infix(operator: str, level: int) -> Form:
    first = level if level < COMPARISON else SUM
    return Form(f"{{0}} {operator} {{1}}", level, first, level - 1)


def prefix(operator: str) -> Form:
    return Form(f"{operator}{{0}}", PRODUCT, ATOM)


def named(text: str, level: int = ATOM) -> Form:
    """Return a form whose text may repeat an argument. All arguments must be names or numbers."""
    return Form(text, level, ATOM, ATOM, names=True)


ARITHMETIC: Mapping[str, Form] = {
    "add": infix("+", SUM),
    "subtract": infix("-", SUM),
    "multiply": infix("*", PRODUCT),
    "divide": infix("/", PRODUCT),
    "negative": prefix("-"),
    "greater": infix(">", COMPARISON),
    "at_least": infix(">=", COMPARISON),
    "equal": infix("==", COMPARISON),
}


def limited(forms: Mapping[str, Form], limits: Mapping[str, Form]) -> Callable[[Node], Form]:

    def form_of(node: Node) -> Form:
        chosen = limits if node.op in limits and node.args[1].op == NUMBER else forms
        return chosen[node.op]

    return form_of


@dataclass(frozen=True)
class Language:
    form: Callable[[Node], Form]
    number: Callable[[float], str]
    line: Callable[[Node, str, str], str] = lambda _node, name, text: f"{name} = {text}"


def statements(root: Node, language: Language, prefix: str = "v") -> tuple[list[str], str]:
    # A part that is used several times, or would make a line too long, becomes a variable: v, v2,
    # ... The `data` of an `ARRAY` node is text in the target language.
    return Statements(root, language, prefix).result()


class Statements:
    def __init__(self, root: Node, language: Language, prefix: str) -> None:
        self._root, self._language, self._prefix = root, language, prefix
        self._order = in_order([root])
        self._forms = {id(node): language.form(node) for node in self._order if node.args}
        self._texts: dict[int, tuple[str, int]] = {}
        self._lines: list[str] = []
        self._set_before: set[int] = set()  # ids of the nodes that are variables

    def result(self) -> tuple[list[str], str]:
        uses = Counter(id(each) for node in self._order for each in node.args)
        repeated = {
            id(each)
            for node in self._order
            if node.args and self._forms[id(node)].names
            for each in node.args
        }
        for node in self._order:
            self._texts[id(node)] = self._text(node)
            if uses[id(node)] > 1 or id(node) in repeated:
                self._set(node)
        return self._lines, self._texts[id(self._root)][0]

    def _text(self, node: Node) -> tuple[str, int]:
        if node.op == ARRAY:
            return str(node.data), ATOM
        if node.op == NUMBER:
            is_negative = math.copysign(1, node.data) < 0
            return self._language.number(node.data), PRODUCT if is_negative else ATOM
        parts = [each for each in node.args if each.args and id(each) not in self._set_before]
        parts.sort(key=lambda each: len(self._texts[id(each)][0]))
        while len(text := self._formula(node)) > MAX_TEXT and parts:
            self._set(parts.pop())
        return text, self._forms[id(node)].level

    def _formula(self, node: Node) -> str:
        form = self._forms[id(node)]
        texts = []
        for position, each in enumerate(node.args):
            text, level = self._texts[id(each)]
            limit = form.others if position else form.first
            texts.append(f"({text})" if level > limit else text)
        return form.text.format(*texts)

    def _set(self, node: Node) -> None:
        if not node.args or id(node) in self._set_before:
            return
        self._set_before.add(id(node))
        count = len(self._set_before)
        name = f"{self._prefix}{count}" if count > 1 else self._prefix
        self._lines.append(self._language.line(node, name, self._texts[id(node)][0]))
        self._texts[id(node)] = name, ATOM
