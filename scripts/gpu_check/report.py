"""The final table, and the JSON file with everything."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from outcome import FAILED, PASSED, SKIPPED, STOPPED


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in plain text."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def summary(statuses: Sequence[str]) -> str:
    """Return how many steps ended how."""
    every = (PASSED, FAILED, STOPPED, SKIPPED)
    return ", ".join(f"{statuses.count(status)} {status}" for status in every)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the report, whole or not at all."""
    text = json.dumps(document, indent=2) + "\n"
    descriptor, temporary = tempfile.mkstemp(dir=path.resolve().parent, suffix=".json")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
