"""What a terminal can show. Of the standard library alone: `escaped` is copied into predictors."""

from __future__ import annotations

import sys
import unicodedata
from contextlib import suppress
from typing import TextIO

__all__ = ["escaped", "is_terminal", "write_last_words"]


def escaped(text: str) -> str:
    r"""Return text with escape sequences in place of characters that a terminal would obey.

    These are control characters, line ends among them, and marks that change the direction of
    writing.

    Examples
    --------
    >>> print(escaped("a\x1b[2Jé\n"))
    a\x1b[2Jé\n
    """
    if text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else letter
        for letter in text
    )


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal; it may be closed, or None as in pythonw."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def write_last_words(text: str = "") -> None:
    """Write to standard error before a process ends; streams may be closed, missing or full."""
    with suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
