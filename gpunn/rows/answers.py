"""Predictions as lines of CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from gpunn.rows.formulas import formula_as_text

__all__ = ["predictions_text"]


def predictions_text(
    rows: Iterable[tuple[list[Any], list[float]]], names: list[str], form: str, digits: int
) -> str:
    """Return predictions and probabilities as lines of CSV or JSON."""
    text = io.StringIO()
    if form == "jsonl":
        for values, more in rows:
            cells = [*(shortened(value, digits) for value in values)]
            cells += [shortened(float(p), 9) for p in more]  # NumPy's float32 is none of JSON's
            text.write(json.dumps(dict(zip(names, cells, strict=True)), ensure_ascii=False) + "\n")
        return text.getvalue()
    csv.writer(text, lineterminator="\n").writerows(
        [*(cell_of(value, digits) for value in values), *(f"{p:.9g}" for p in more)]
        for values, more in rows
    )
    return text.getvalue()


def shortened(value: Any, digits: int) -> Any:
    """Return a number with so many digits; None if it is not finite, which JSON does not know."""
    if not isinstance(value, float):
        return value
    return None if value - value != 0 else float(f"{value:.{digits}g}")


def cell_of(value: Any, digits: int) -> str:
    """Return what is written to CSV; text that a spreadsheet runs as a formula is marked so."""
    return f"{value:.{digits}g}" if isinstance(value, float) else formula_as_text(str(value))
