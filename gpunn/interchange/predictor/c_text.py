"""Generate C source text: functions copied from a template, constants, strings."""

from __future__ import annotations

import math
import re
import string
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gpunn.errors import ExportError

FOLDER = Path(__file__).parent

FUNCTION = re.compile(
    r"^/\*[^\n]*(?:\n   [^\n]*)*\*/\nstatic inline .*?^}\n", re.MULTILINE | re.DOTALL
)

NAME = re.compile(r"^static inline [\w ]+[ *](\w+)\(", re.MULTILINE)

MATHEMATICS = re.compile(r"\b(cos|erfc|exp|expm1|fabs|floor|log|log1p|rint|sin|sqrt|tanh)\(")
"""Functions of math.h, whose names differ for the type float."""

MAX_LITERAL = 4095
"""Maximum bytes of a string literal that every C99 compiler accepts."""

MAX_NAME = 120
"""Maximum characters of a column's name in an identifier, because the name may be a sentence."""

WIDTH = 100


class Functions:
    """The functions of a C template that the generated code needs.

    Generators request these functions with `name`.
    """

    def __init__(self, template: str, prefix: str, real: str) -> None:
        self.prefix, self.real = prefix, real
        texts = FUNCTION.findall((FOLDER / template).read_text(encoding="utf-8"))
        self._texts = {name: text for text in texts for name in NAME.findall(text)}
        self._calls = re.compile(rf"\b({'|'.join(self._texts)})\(")
        self._used: set[str] = set()

    def name(self, function: str) -> str:
        waiting = {function}
        while waiting - self._used:
            self._used |= waiting
            waiting = {call for name in waiting for call in self._calls.findall(self._texts[name])}
        return f"{self.prefix}_{function}"

    def array(self, name: str, values: Sequence[float] | Sequence[str], label: str) -> str:
        if all(isinstance(value, str) for value in values):
            return strings_source(name, [str(value) for value in values], label)
        return array_source(name, np.array(values), label)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def used(self) -> list[str]:
        texts = [text for name, text in self._texts.items() if name in self._used]
        return [typed(self._calls.sub(rf"{self.prefix}_\1(", text), self.real) for text in texts]


def typed(text: str, real: str) -> str:
    text = re.sub(r"\breal\b", real, text)
    return MATHEMATICS.sub(r"\1f(", text) if real == "float" else text


def array_source(name: str, array: np.ndarray, label: str) -> str:
    if array.dtype.kind == "i":
        kind = "signed char" if array.itemsize == 1 else "int"
        texts = [str(value) for value in array.ravel().tolist()]
    else:
        if not np.isfinite(array).all():
            raise ExportError(f"{label}: expected finite numbers for C constants")
        kind = {4: "float", 8: "double"}[array.itemsize]
        texts = [constant(value, array.itemsize) for value in array.ravel().tolist()]
    body = textwrap.fill(", ".join(texts), WIDTH, initial_indent="    ", subsequent_indent="    ")
    return f"static const {kind} {name}[{array.size}] = {{\n{body}}};\n"


def constant(value: float, size: int) -> str:
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{value:.9g}" if size == 4 else repr(value)
    text = text if any(mark in text for mark in ".e") else f"{text}.0"
    return f"{text}f" if size == 4 else text


def number_source(value: float, real: str) -> str:
    return str(value) if isinstance(value, int) else f"({real}){value!r}"


def string_source(text: str) -> str:
    plain = set(string.ascii_letters + string.digits + " _-.")
    bytes_ = text.encode("utf-8", "backslashreplace")
    inner = "".join(chr(each) if chr(each) in plain else f"\\{each:03o}" for each in bytes_)
    return f'"{inner}"'


def strings_source(name: str, texts: Sequence[str], label: str) -> str:
    before, entries = "", []
    for index, text in enumerate(texts):
        if "\0" in text:
            raise ExportError(
                f"{label}: {text!r:.80} contains the character NUL, which ends a C string; remove "
                "it from the training data"
            )
        content = text.encode("utf-8", "backslashreplace")
        if len(content) > MAX_LITERAL:
            # A compiler may refuse the literal, but accepts the same bytes one by one.
            entries.append(f"{name}_{index}")
            bytes_ = ", ".join(f"'\\{each:03o}'" for each in content)
            before += wrapped(f"static const char {entries[-1]}[] = {{{bytes_}, 0}};", 4)
            before += "\n"
        else:
            entries.append(string_source(text))
    lines = "".join(f"    {entry},\n" for entry in entries)
    return f"{before}static const char *const {name}[] = {{\n{lines}}};\n"


def names_in_c(names: Iterable[str], prefix: str) -> dict[str, str]:
    identifiers: dict[str, str] = {}
    taken: set[str] = set()
    for index, name in enumerate(names):
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name)[:MAX_NAME].strip("_")
        identifier = f"{prefix}_{plain or index}"
        while identifier in taken:
            identifier += f"_{index}"
        taken.add(identifier)
        identifiers[name] = identifier
    return identifiers


def wrapped(line: str, indent: int) -> str:
    return textwrap.fill(
        line, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
