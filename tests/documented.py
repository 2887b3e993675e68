"""Tables that tests have documents repeat, each between comments that mark its place."""

from __future__ import annotations

import re
from pathlib import Path

EXPLANATION = Path(__file__).parents[1] / "docs" / "explanation"


def place(made: str, name: str) -> str:
    return f"<!-- {name}: begin -->\n{made}\n<!-- {name}: end -->"


def table_in(document: Path, name: str) -> str:
    """Return a table as the document has it."""
    text = document.read_text(encoding="utf-8")
    match = re.search(place("(.*?)", name), text, re.DOTALL)
    assert match is not None, f"{document} has no table of {name}"
    return match[1].strip()


def write(document: Path, name: str, made: str) -> None:
    """Put a table in its place in the document."""
    old = place(table_in(document, name), name)
    text = document.read_text(encoding="utf-8").replace(old, place(made, name))
    document.write_text(text, encoding="utf-8")
