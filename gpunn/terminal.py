"""Safe output to a terminal. Exports copy `escaped`, so only the standard library is used."""

import sys
import unicodedata
from contextlib import suppress
from typing import TextIO


def escaped(text: str) -> str:
    r"""Return text with control characters replaced by visible escape sequences.

    Line ends, and marks that change the direction of writing, are also replaced.

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
    # The stream may be closed or None.
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def write_last_words(text: str = "") -> None:
    with suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
