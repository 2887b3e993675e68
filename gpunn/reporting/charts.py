"""Charts as SVG inside the page, each with a text alternative and its numbers as a table.

Variables of the page's style sheet replace Matplotlib's placeholder colors, so that one drawing
works in the light and the dark theme. Text is stored as text, not as outlines.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.optional import install_command, require

Row = tuple[Any, ...]

PLACEHOLDERS = {
    "#0a0b01": "var(--ink)",
    "#0a0b02": "var(--muted)",
    "#0a0b03": "var(--rule)",
    "#0a0b04": "var(--good)",
    "#0a0b05": "var(--bad)",
    **{f"#0a0c{number:02d}": f"var(--series-{number})" for number in range(8)},
}
INK, MUTED, RULE, GOOD, BAD, *COLORS = PLACEHOLDERS

DASHES = {"solid": "", "dashed": "5 2.5", "dotted": "1.2 2"}

WIDTH, HEIGHT = 5.2, 2.9
"""Size of a drawing in inches. An inch has 72 units. A phone's screen is about as wide."""

KEY = re.compile(r"[A-Za-z0-9_-]+")

LARGEST_DRAWN = 1e150
"""Larger numbers are in tables but not in drawings, because they would flatten the scale."""

POINTS = 2000
"""Maximum number of points of a plot, and maximum number of rows of a table."""

LABELS = 24

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$x$"
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "xtick.minor.visible": False,
    "ytick.color": RULE,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


@dataclass(frozen=True)
class Line:
    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: int = 0
    dash: str = "solid"

    @property
    def dash_array(self) -> str:
        return DASHES[self.dash]


@dataclass(frozen=True)
class Chart:
    key: str
    title: str
    description: str
    svg: str
    columns: Sequence[str]
    rows: Sequence[Row]
    legend: Sequence[Line] = ()
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """The x axis. `categories` has the labels of x = 0, 1, ...; it is empty if x is numeric."""

    categories: Sequence[str] = ()
    logarithmic: bool = False
    whole: bool = False
    limits: tuple[float, float] = (-np.inf, np.inf)


def lines(
    key: str,
    title: str,
    series: Sequence[Line],
    *,
    x_label: str = "epoch",
    logarithmic: bool = False,
    marks: Sequence[tuple[float, float, str, int]] = (),
    note: str = "",
) -> Chart:
    # A logarithmic y axis skips values <= 0. `marks` are highlighted points: (x, y, text, color).
    kept = [thinned(line, [mark[0] for mark in marks]) for line in series]

    def draw(axes: Any) -> None:
        for number, line in enumerate(kept):
            heights = drawable(line.y)
            if logarithmic:
                heights = np.where(heights > 1 / LARGEST_DRAWN, heights, np.nan)
            (artist,) = axes.plot(line.x, heights, color=COLORS[line.color % len(COLORS)])
            if DASHES[line.dash]:
                artist.set_dashes([float(length) for length in DASHES[line.dash].split()])
            if len(line.x) == 1:
                artist.set_marker("o")
            artist.set_gid(f"series-{number}")
        set_ticks(axes, logarithmic)
        axes.set_xlabel(x_label)
        axes.margins(x=0.02)
        for number, (x, y, text, color) in enumerate(marks):
            if np.isnan(drawable([y])[0]):
                continue
            mark(axes, x, y, text, COLORS[color % len(COLORS)], f"mark-{number}")

    description = f"Line chart. {' '.join(sentence(line, x_label) for line in series)}"
    if marks:
        description += f" Marked: {'; '.join(text for _, _, text, _ in marks)}."
    columns = [x_label, *(line.name for line in series)]
    return Chart(
        key, title, description, drawn(key, draw), columns, rows_by_x(kept), tuple(series), note
    )


def drawable(values: Sequence[float]) -> np.ndarray:
    numbers = np.asarray(values, dtype=float)
    return np.where(np.abs(numbers) <= LARGEST_DRAWN, numbers, np.nan)


def mark(axes: Any, x: float, y: float, text: str, color: str, gid: str) -> None:
    axes.axvline(x, color=MUTED, linewidth=0.7, dashes=(2, 2), zorder=0.5)
    axes.plot([x], [y], "o", color=color, markersize=5.5, gid=gid, zorder=5)
    left, right = axes.get_xlim()
    part = (x - left) / (right - left)
    axes.annotate(
        text,
        (x, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="left" if part < 0.2 else "right" if part > 0.8 else "center",
        va="bottom",
        color=MUTED,
        fontsize=8.5,
    )


def sentence(line: Line, x_label: str) -> str:
    pairs = [(x, y) for x, y in zip(line.x, line.y, strict=True) if np.isfinite(y)]
    if not pairs:
        return f"{line.name}: no finite values."
    low, high = min(pairs, key=lambda pair: pair[1]), max(pairs, key=lambda pair: pair[1])
    (first, begin), (last, end) = pairs[0], pairs[-1]
    if len(pairs) == 1:
        return f"{line.name}: {begin:.4g} at {x_label} {first:g}."
    return (
        f"{line.name}: {begin:.4g} at {x_label} {first:g}, {end:.4g} at {x_label} {last:g}; "
        f"lowest {low[1]:.4g} at {low[0]:g}, highest {high[1]:.4g} at {high[0]:g}."
    )


def scatter(
    key: str,
    title: str,
    x: np.ndarray,
    y: np.ndarray,
    *,
    labels: tuple[str, str],
    reference: str,
    description: str,
    note: str = "",
) -> Chart:
    # `reference` is the line of perfect predictions: the "diagonal", or the horizontal line "zero".
    chosen = evenly(len(x), POINTS)

    def draw(axes: Any) -> None:
        if reference == "diagonal":
            axes.axline((float(x.mean()), float(x.mean())), slope=1, color=MUTED, linewidth=0.9)
        else:
            axes.axhline(0, color=MUTED, linewidth=0.9)
        axes.plot(
            x[chosen], y[chosen], "o", color=COLORS[0], markersize=3, alpha=0.45,
            markeredgewidth=0, gid="series-0",
        )  # fmt: skip
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])

    rows = [(int(row), float(x[row]), float(y[row])) for row in chosen]
    if len(chosen) < len(x):
        note = f"{note} {len(chosen):,} of {len(x):,} rows are shown.".strip()
    return Chart(key, title, description, drawn(key, draw), ("row", *labels), rows, (), note)


def points(
    key: str,
    title: str,
    x: Sequence[float],
    y: Sequence[float],
    *,
    labels: tuple[str, str],
    axis: Axis,
    marked: int | None,
    columns: Sequence[str],
    rows: Sequence[Row],
    description: str,
    note: str,
    hollow: Sequence[bool] = (),
    line: Sequence[float] = (),
) -> Chart:
    # A ring highlights the point with the index `marked`, and `hollow` points are circles. `line`
    # has the height of a step line at each x.
    across, up = drawable(x), drawable(y)
    full = ~np.asarray(hollow, bool) if len(hollow) else np.ones(len(across), bool)

    def draw(axes: Any) -> None:
        if len(line):
            axes.step(across, drawable(line), where="post", color=COLORS[1], gid="line-0")
        axes.plot(
            across[full], up[full], "o", color=COLORS[0], markersize=4.5, alpha=0.6,
            markeredgewidth=0, gid="series-0",
        )  # fmt: skip
        if not full.all():
            axes.plot(
                across[~full], up[~full], "o", color=COLORS[0], markersize=4.5, alpha=0.8,
                markerfacecolor="none", markeredgewidth=0.9, gid="hollow-0",
            )  # fmt: skip
        if marked is not None:
            axes.plot(
                across[marked : marked + 1], up[marked : marked + 1], "o", markersize=9,
                markerfacecolor="none", color=COLORS[1], gid="mark-0",
            )  # fmt: skip
        apply_axis(axes, axis)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])

    return Chart(key, title, description, drawn(key, draw), columns, rows[:POINTS], (), note)


def apply_axis(axes: Any, axis: Axis) -> None:
    ticker = require("matplotlib.ticker", "a report", install_command("report"))
    if axis.categories:
        every = -(-len(axis.categories) // LABELS)
        short = [name if len(name) <= 24 else f"{name[:23]}…" for name in axis.categories]
        axes.set_xticks(range(0, len(short), every), short[::every])
        axes.set_xlim(-0.5, len(short) - 0.5)
        return
    if axis.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    elif axis.whole:
        axes.xaxis.set_major_locator(ticker.MaxNLocator("auto", integer=True, min_n_ticks=1))
    low, high = axis.limits
    if max(abs(low), abs(high)) <= LARGEST_DRAWN:
        pad = (high / low) ** 0.04 if axis.logarithmic else 0.04 * (high - low)
        axes.set_xlim(*((low / pad, high * pad) if axis.logarithmic else (low - pad, high + pad)))


def bars(
    key: str, title: str, edges: np.ndarray, counts: np.ndarray, *, label: str, description: str
) -> Chart:

    def draw(axes: Any) -> None:
        axes.stairs(counts, edges, fill=True, color=COLORS[0], alpha=0.75, gid="series-0")
        axes.axvline(0, color=MUTED, linewidth=0.9)
        turned = len(counts) > 12  # too narrow for horizontal numbers
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            if count:
                above = ((low + high) / 2, count)
                axes.annotate(
                    f"{count:,}", above, xytext=(0, 2), textcoords="offset points", ha="center",
                    va="bottom", rotation=90 if turned else 0, color=MUTED, fontsize=7,
                )  # fmt: skip
        axes.margins(y=0.15)
        axes.set_xlabel(label)
        axes.set_ylabel("rows")

    rows = [
        (float(low), float(high), int(count))
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
    return Chart(key, title, description, drawn(key, draw), ("from", "to", "rows"), rows)


def ranking(
    key: str,
    title: str,
    names: Sequence[str],
    values: Sequence[float],
    *,
    maximum: int,
    label: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    description: str,
    note: str,
    texts: Sequence[str],
    reference: float | None = None,
) -> Chart:
    short = [name if len(name) <= 24 else f"{name[:23]}…" for name in names[:maximum]]
    lengths = drawable(values[:maximum])

    def draw(axes: Any) -> None:
        for index, length in enumerate(lengths):
            axes.barh(index, length, 0.7, color=COLORS[0], alpha=0.75, gid=f"bar-{index}")
            if np.isfinite(length):
                axes.annotate(
                    texts[index], (max(length, 0), index), xytext=(3, 0),
                    textcoords="offset points", va="center", color=MUTED, fontsize=8,
                )  # fmt: skip
        axes.margins(x=0.15)
        axes.axvline(0, color=MUTED, linewidth=0.9)
        if reference is not None and abs(reference) <= LARGEST_DRAWN:
            axes.axvline(reference, color=MUTED, linewidth=0.7, dashes=(2, 2))
        axes.set_ylim(len(short) - 0.5, -0.5)
        axes.set_yticks(range(len(short)), short)
        axes.grid(False)
        axes.grid(True, axis="x")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        axes.set_xlabel(label)

    svg = drawn(key, draw, height=0.8 + 0.22 * max(3, len(short)))
    return Chart(key, title, description, svg, columns, rows[:POINTS], (), note)


def heat_map(
    key: str, title: str, counts: np.ndarray, names: Sequence[str], *, description: str, note: str
) -> Chart:
    # A cell's color shows its fraction of the row's sum; errors have a separate scale.
    size = len(names)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    errors = np.where(np.eye(size, dtype=bool), 0.0, fractions)
    strongest = errors.max() or 1.0
    patches = require("matplotlib.patches", "a report", install_command("report"))

    def draw(axes: Any) -> None:
        for row in range(size):
            for column in range(size):
                right = row == column
                fraction = fractions[row, column] if right else errors[row, column] / strongest
                if counts[row, column]:
                    axes.add_patch(
                        patches.Rectangle(
                            (column - 0.47, row - 0.47), 0.94, 0.94, linewidth=0,
                            facecolor=GOOD if right else BAD, alpha=0.12 + 0.48 * fraction,
                            gid=f"cell-{row}-{column}",
                        )
                    )  # fmt: skip
                    if size <= 12:
                        axes.text(
                            column, row, f"{counts[row, column]}", ha="center", va="center",
                            fontsize=8.5 if size > 6 else 10, color=INK,
                        )  # fmt: skip
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        short = [name if len(name) <= 12 else f"{name[:11]}…" for name in names]
        long = max(map(len, short)) > 3
        for axis, rotation in ((axes.xaxis, 90 if long and size > 4 else 0), (axes.yaxis, 0)):
            axis.set_ticks(range(size), short)
            axis.set_tick_params(length=0, rotation=rotation)

    columns = ["true class", *(f"predicted {name}" for name in names)]
    rows = [
        (name, *(int(count) for count in line)) for name, line in zip(names, counts, strict=True)
    ]
    svg = drawn(key, draw, height=min(5.2, 2.2 + 0.3 * size))
    return Chart(key, title, description, svg, columns, rows, (), note)


def drawn(key: str, draw: Callable[[Any], None], height: float = HEIGHT) -> str:
    if KEY.fullmatch(key) is None:
        raise ArgumentError(f"key: expected letters, digits, '_' and '-'; got {key!r}")
    matplotlib = require("matplotlib", "a report", install_command("report"))
    figures = require("matplotlib.figure", "a report", install_command("report"))
    content = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key}), warnings.catch_warnings():
        # Matplotlib's font lacks some characters; the browser has other fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = figures.Figure((WIDTH, height), layout="constrained")
        draw(figure.add_subplot())
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", metadata=nothing)
    return page_ready(content.getvalue(), key)


def page_ready(svg: str, key: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\1{key}-", svg)
    for placeholder, variable in PLACEHOLDERS.items():
        svg = svg.replace(placeholder, variable)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    inside = svg[svg.index(">") + 1 :]
    names = f'aria-labelledby="{key}-title" aria-describedby="{key}-description"'
    return f'<svg class="plot" role="img" {names} {box[0]} xmlns:xlink="http://www.w3.org/1999/xlink">{inside}'


def set_ticks(axes: Any, logarithmic: bool) -> None:
    ticker = require("matplotlib.ticker", "a report", install_command("report"))
    axes.xaxis.set_major_locator(ticker.MaxNLocator("auto", integer=True, min_n_ticks=1))
    plain = ticker.FuncFormatter(lambda value, _: f"{value:,.6g}")
    if logarithmic:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        steps = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=steps, numticks=9))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
        axes.yaxis.set_major_formatter(plain)
    elif max(map(abs, axes.get_ylim())) >= 1000:
        axes.yaxis.set_major_formatter(plain)


def evenly(count: int, limit: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(int))


def thinned(line: Line, keep: Sequence[float]) -> Line:
    if len(line.x) <= POINTS:
        return line
    chosen = set(evenly(len(line.x), POINTS).tolist())
    chosen |= {index for index, x in enumerate(line.x) if x in keep}
    order = sorted(chosen)
    return Line(
        line.name,
        [line.x[index] for index in order],
        [line.y[index] for index in order],
        line.color,
        line.dash,
    )


def rows_by_x(series: Sequence[Line]) -> list[Row]:
    tables = [dict(zip(line.x, line.y, strict=True)) for line in series]
    every_x = sorted({x for line in series for x in line.x})
    return [(x, *(table.get(x) for table in tables)) for x in every_x]
