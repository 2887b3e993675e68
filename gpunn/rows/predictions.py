"""Predictions as lines of CSV or JSON, without text that a spreadsheet would run (CSV injection).

In spreadsheets, an apostrophe in front marks text. So text that begins like a formula, possibly
after apostrophes, is written with an apostrophe in front. Reading removes this apostrophe. Numbers
and a lone sign are not formulas.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Iterable
from typing import Any

LOG = logging.getLogger("gpunn")

FORMULA = re.compile("'*[=@+\\-\t\r\n\uff1d\uff20\uff0b\uff0d]")
"""Matches the beginning of a formula; its first character may be full-width."""

NUMBER = re.compile(r"[+-](\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|nan)?", re.ASCII)


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet may run text as a formula, ignoring leading apostrophes."""
    return FORMULA.match(text) is not None and NUMBER.fullmatch(text) is None


def formula_as_text(text: str) -> str:
    """Return a string as a cell of a CSV file; a formula gets an apostrophe in front.

    >>> [formula_as_text(text) for text in ("cat", "=1+1", "'=1+1", "-", "-1.5", "-1+1", "it's")]
    ['cat', "'=1+1", "''=1+1", '-', '-1.5', "'-1+1", "it's"]
    """
    return f"'{text}" if is_formula(text) else text


def text_of_cell(cell: str) -> str:
    """Return the string that a cell represents: the inverse of `formula_as_text`.

    >>> [text_of_cell(cell) for cell in ("cat", "'=1+1", "''=1+1", "-1+1", "'cat'")]
    ['cat', '=1+1', "'=1+1", '-1+1', "'cat'"]
    """
    return cell[1:] if cell.startswith("'") and is_formula(cell) else cell


def warn_of_formulas(texts: Iterable[str]) -> None:
    for text in texts:
        if is_formula(text):
            LOG.warning(
                "%.60r is written as %.60r, so that spreadsheets do not run it as a formula; "
                "gpunn removes the apostrophe when it reads the file",
                text,
                formula_as_text(text),
            )


def predictions_text(
    rows: Iterable[tuple[list[Any], list[float]]], names: list[str], form: str, digits: int
) -> str:
    text = io.StringIO()
    if form == "jsonl":
        for values, more in rows:
            cells = [*(shortened(value, digits) for value in values)]
            cells += [shortened(float(p), 9) for p in more]  # JSON can't write NumPy's float32
            text.write(json.dumps(dict(zip(names, cells, strict=True)), ensure_ascii=False) + "\n")
        return text.getvalue()
    csv.writer(text, lineterminator="\n").writerows(
        [*(cell_of(value, digits) for value in values), *(f"{p:.9g}" for p in more)]
        for values, more in rows
    )
    return text.getvalue()


def shortened(value: Any, digits: int) -> Any:
    if not isinstance(value, float):
        return value
    return None if value - value != 0 else float(f"{value:.{digits}g}")


def cell_of(value: Any, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else formula_as_text(str(value))
