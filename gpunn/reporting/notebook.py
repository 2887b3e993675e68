"""Plots for notebooks and scripts, in Matplotlib's own style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpunn.errors import ArgumentError, suggest
from gpunn.optional import require
from gpunn.reporting.text import title_of
from gpunn.training.history import History
from gpunn.training.trainer import TIMINGS

__all__ = ["plot_history"]


def plot_history(history: History, figures: Sequence[str] = ()) -> list[Any]:
    """Plot figures by epoch; see `gpunn.History.plot`."""
    if not history.rows:
        raise ArgumentError("history: there is no epoch to plot yet")
    for name in figures:
        if name not in history:
            raise ArgumentError(f"figures: there is no {name!r}; {suggest(name, history)}")
    beside = ("epoch", *TIMINGS)
    chosen = figures or [n for n in history if n not in beside and not n.startswith("val_")]
    pyplot = require("matplotlib.pyplot", "plotting a history", ".[report]")
    _, grid = pyplot.subplots(
        1, len(chosen), figsize=(5 * len(chosen), 3.4), layout="constrained", squeeze=False
    )
    for axes, name in zip(grid[0], chosen, strict=True):
        pairs = (("training", name, "-"), ("validation", f"val_{name}", "--"))
        for label, column, style in pairs:
            points = [(row["epoch"], row[column]) for row in history.rows if column in row]
            if points:
                marker = "o" if len(points) == 1 else None
                axes.plot(*zip(*points, strict=True), style, marker=marker, label=label)
        axes.set(title=title_of(name), xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    return list(grid[0])
