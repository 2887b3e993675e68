"""Tables in plain text that are Markdown as well."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.figures import Figure


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is aligned to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(head))]
    texts = [
        " | ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    texts.insert(1, " | ".join(rule))
    return "\n".join(f"| {text} |" for text in texts)


def number(value: float | None) -> str:
    """Return three significant digits; "-" for what is not known."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, min(digits, 5))}f}"


def shown(figure: Figure | None, statistic: str = "median", scale: float = 1.0) -> str:
    """Return a figure's median or minimum, marked if no turn was quiet."""
    if figure is None:
        return "-"
    return f"{figure.mark}{number(scale * getattr(figure, statistic))}"


def times(value: float | None) -> str:
    """Return a ratio."""
    return "-" if value is None else f"{value:.2f}x"
