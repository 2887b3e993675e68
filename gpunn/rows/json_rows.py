"""Rows of cells from JSON lines: an object or an array in each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gpunn.rows.lines import LONGEST_LINE, Lines, wrong_text

__all__ = ["flattened", "json_cell", "values_of_json"]


def values_of_json(lines: Lines, refuse: Callable[[int, str], None]) -> Iterator[tuple[int, Any]]:
    """Yield what each line that is not empty says, with its number.

    `refuse` is called for each that is broken, with its number and what is wrong.
    """
    for number, line in enumerate(lines, start=lines.skipped + 1):
        lines.left = LONGEST_LINE
        if not line.strip():
            continue
        problem = wrong_text(line)
        if not problem:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                problem = str(error)
        if problem:
            refuse(number, problem)
        else:
            yield number, value


def flattened(row: Sequence[Any], shape: Sequence[int]) -> Sequence[Any]:
    """Return what nested sequences of a shape hold, the last axis varying fastest; else the row."""
    found = [row]
    for size in shape:
        for part in found:
            if isinstance(part, (str, dict)) or not hasattr(part, "__len__") or len(part) != size:
                return row
        found = [each for part in found for each in part]
    return found if shape else row


def json_cell(name: str | int, value: Any) -> str:
    """Return a JSON value as a CSV file would spell it: null is an empty cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float):
        return str(int(value)) if abs(value) < 2**53 and value == int(value) else repr(value)
    if isinstance(value, int):  # and True and False
        return str(value)
    kind = "an array" if isinstance(value, list) else "an object"
    raise ValueError(f"column {name!r}: expected a number, text, true, false or null; got {kind}")
