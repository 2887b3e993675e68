"""Text in C: functions copied from the template, constants, strings."""

from __future__ import annotations

import re
import string
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gpunn.errors import ExportError

__all__ = [
    "Functions",
    "array_source",
    "names_in_c",
    "number_source",
    "text_source",
    "texts_source",
    "wrapped",
]

FOLDER = Path(__file__).parent

FUNCTION = re.compile(
    r"^/\*[^\n]*(?:\n   [^\n]*)*\*/\nstatic inline .*?^}\n", re.MULTILINE | re.DOTALL
)
"""A comment and the function below it."""

NAME = re.compile(r"^static inline \w+ (\w+)\(", re.MULTILINE)

MATHEMATICS = re.compile(r"\b(cos|exp|expm1|fabs|log|log1p|sin|sqrt|tanh)\(")
"""Functions of math.h, which have another name for float."""

KEYWORDS = frozenset(
    (
        *("auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else"),
        *("enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register"),
        *("restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch"),
        *("typedef", "union", "unsigned", "void", "volatile", "while"),
        # of C++ and of later standards of C, for programs that include the header
        *("bool", "class", "delete", "false", "new", "operator", "private", "public", "this"),
        *("template", "true", "and", "or", "not", "asm", "try", "catch", "throw", "namespace"),
    )
)

WIDTH = 100
"""Characters of a line."""


class Functions:
    """The functions of a template, copied with a prefix, and with the network's type.

    Parameters
    ----------
    template : str
        Its file's name.
    prefix : str
    real : {"float", "double"}
    """

    def __init__(self, template: str, prefix: str, real: str) -> None:
        self.prefix, self.real = prefix, real
        texts = FUNCTION.findall((FOLDER / template).read_text(encoding="utf-8"))
        self._texts = {name: text for text in texts for name in NAME.findall(text)}
        self._calls = re.compile(rf"\b({'|'.join(self._texts)})\(")
        self._used: set[str] = set()

    def copied(self, text: str) -> str:
        """Return code that calls functions of the template, with their names in the copy."""
        waiting = set(self._calls.findall(text))
        while waiting - self._used:
            self._used |= waiting
            waiting = {call for name in waiting for call in self._calls.findall(self._texts[name])}
        return self._renamed(text)

    def used(self) -> list[str]:
        """Return the functions that code called, and those that they call."""
        return [self._renamed(text) for name, text in self._texts.items() if name in self._used]

    def _renamed(self, text: str) -> str:
        text = self._calls.sub(rf"{self.prefix}_\1(", text)
        text = re.sub(r"\breal\b", self.real, text)
        return MATHEMATICS.sub(r"\1f(", text) if self.real == "float" else text


def array_source(name: str, array: np.ndarray, label: str) -> str:
    """Return the definition of an array of constants."""
    if array.dtype.kind == "i":
        kind, texts = "int", [str(value) for value in array.ravel().tolist()]
    else:
        if not np.isfinite(array).all():
            raise ExportError(f"{label}: holds numbers that are not finite, which C can't write")
        kind = {4: "float", 8: "double"}[array.itemsize]
        texts = [constant(value, array.itemsize) for value in array.ravel().tolist()]
    body = textwrap.fill(", ".join(texts), WIDTH, initial_indent="    ", subsequent_indent="    ")
    return f"static const {kind} {name}[{array.size}] = {{\n{body}}};\n"


def constant(value: float, size: int) -> str:
    """Return a number of 4 or 8 bytes with the digits that it needs."""
    text = f"{value:.9g}" if size == 4 else repr(value)
    text = text if any(mark in text for mark in ".e") else f"{text}.0"
    return f"{text}f" if size == 4 else text


def number_source(value: float) -> str:
    """Return an argument: a whole number, or one that becomes the network's type."""
    return str(value) if isinstance(value, int) else f"(real){value!r}"


def text_source(text: str) -> str:
    """Return a string of C: letters and digits as they are, other bytes of UTF-8 as numbers."""
    plain = set(string.ascii_letters + string.digits + " _-.")
    bytes_ = text.encode("utf-8", "backslashreplace")
    inner = "".join(chr(each) if chr(each) in plain else f"\\{each:03o}" for each in bytes_)
    return f'"{inner}"'


def texts_source(name: str, texts: Sequence[str], indent: int) -> str:
    """Return the definition of an array of strings within a function."""
    space = " " * indent
    lines = "".join(f"{space}    {text_source(text)},\n" for text in texts)
    return f"{space}static const char *const {name}[] = {{\n{lines}{space}}};\n"


def names_in_c(names: Iterable[str], prefix: str = "") -> dict[str, str]:
    """Return a name in C for each name, all different, and none a word of the language."""
    found: dict[str, str] = {}
    for name in names:
        plain = prefix + re.sub(r"[^A-Za-z0-9]+", "_", name)
        if not plain[0].isalpha():
            plain = f"column_{plain.strip('_')}"
        while plain in KEYWORDS or plain in found.values():
            plain += "_"
        found[name] = plain
    return found


def wrapped(line: str, indent: int) -> str:
    """Return a line of C, or several if it is long."""
    return textwrap.fill(
        line, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
