"""Networks and histories in notebooks: HTML tables and plots."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from gpunn.monitor import VALIDATION
from gpunn.optional import install_command, require


def html_table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table with escaped text; only the first column is left-aligned.

    >>> html_table("<a>", ["b"], [["c"]])
    '<table><caption>&lt;a&gt;</caption><thead><tr><th scope="col" style="text-align: left">b</th></tr></thead><tbody><tr><th scope="row" style="text-align: left">c</th></tr></tbody></table>'
    """  # noqa: E501
    head = "".join(cell("th", "col", column, text) for column, text in enumerate(columns))
    body = "".join(
        "<tr>"
        + "".join(
            cell("td" if column else "th", "" if column else "row", column, text)
            for column, text in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def cell(tag: str, scope: str, column: int, text: str) -> str:
    side = "right" if column else "left"
    scoped = f' scope="{scope}"' if scope else ""
    return f'<{tag}{scoped} style="text-align: {side}">{escape(text)}</{tag}>'


def plot_columns(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> list[Any]:
    pyplot = require("matplotlib.pyplot", "plotting a history", install_command("report"))
    _, grid = pyplot.subplots(
        1, len(names), figsize=(5 * len(names), 3.4), layout="constrained", squeeze=False
    )
    for axes, name in zip(grid[0], names, strict=True):
        metric = name.removeprefix(VALIDATION)
        pairs = [("validation", f"{VALIDATION}{metric}", "--")]
        if name == metric:
            pairs.insert(0, ("training", metric, "-"))
        for label, column, style in pairs:
            points = [(row["epoch"], row[column]) for row in rows if column in row]
            if points:
                marker = "o" if len(points) == 1 else None
                axes.plot(*zip(*points, strict=True), style, marker=marker, label=label)
        axes.set(title=title_of(metric), xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    return list(grid[0])


SYMBOLS = {"auc": "AUC", "f1": "F1", "r2": "R²"}


def title_of(name: str) -> str:
    """Return a metric's name as a title.

    >>> title_of("root_mean_squared_error"), title_of("r2"), title_of("auc")
    ('Root mean squared error', 'R²', 'AUC')
    """
    return SYMBOLS.get(name) or name.replace("_", " ").capitalize()
