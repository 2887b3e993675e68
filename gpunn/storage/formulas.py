"""Text in CSV files that a spreadsheet would take for a formula, and run.

The rule, where gpunn writes text into a CSV file: what begins as a formula does gets an apostrophe
before it, which spreadsheets take as "this is text"; so does what has such an apostrophe already.
Where gpunn reads text, it takes one away again. Numbers, and a sign alone, are no formulas.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

__all__ = ["formula_as_text", "text_of_cell", "warn_of_formulas"]

LOG = logging.getLogger("gpunn")

FORMULA = re.compile("'*[=@+\\-\t\r\n\uff1d\uff20\uff0b\uff0d]")
"""What spreadsheets begin formulas with, in wide characters too."""

NUMBER = re.compile(r"[+-](\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|nan)?", re.ASCII)
"""A number with a sign, or the sign alone: no formula, though it begins as one."""


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet may take text for a formula, apostrophes before it aside."""
    return FORMULA.match(text) is not None and NUMBER.fullmatch(text) is None


def formula_as_text(text: str) -> str:
    """Return what to write into a CSV file for a text.

    Examples
    --------
    >>> [formula_as_text(text) for text in ("cat", "=1+1", "'=1+1", "-", "-1.5", "-1+1", "it's")]
    ['cat', "'=1+1", "''=1+1", '-', '-1.5', "'-1+1", "it's"]
    """
    return f"'{text}" if is_formula(text) else text


def text_of_cell(cell: str) -> str:
    """Return the text that `formula_as_text` made a cell of.

    Examples
    --------
    >>> [text_of_cell(cell) for cell in ("cat", "'=1+1", "''=1+1", "-1+1", "'cat'")]
    ['cat', '=1+1', "'=1+1", '-1+1', "'cat'"]
    """
    return cell[1:] if cell.startswith("'") and is_formula(cell) else cell


def warn_of_formulas(texts: Iterable[str]) -> None:
    """Say which texts are written in another way than they are."""
    for text in texts:
        if is_formula(text):
            LOG.warning(
                "%.60r is written as %.60r, so that no spreadsheet takes it for a formula; gpunn "
                "reads it as it was",
                text,
                formula_as_text(text),
            )
