"""Tables as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]


def html_table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with everything escaped; the first column stands left, the others right.

    Examples
    --------
    >>> html_table("<a>", ["b"], [["c"]])
    '<table><caption>&lt;a&gt;</caption><thead><tr><th scope="col" style="text-align: left">b</th></tr></thead><tbody><tr><th scope="row" style="text-align: left">c</th></tr></tbody></table>'
    """  # noqa: E501
    head = "".join(cell("th", "col", place, text) for place, text in enumerate(columns))
    body = "".join(
        "<tr>"
        + "".join(
            cell("td" if place else "th", "" if place else "row", place, text)
            for place, text in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def cell(tag: str, scope: str, place: int, text: str) -> str:
    """Return one cell."""
    side = "right" if place else "left"
    scoped = f' scope="{scope}"' if scope else ""
    return f'<{tag}{scoped} style="text-align: {side}">{escape(text)}</{tag}>'
