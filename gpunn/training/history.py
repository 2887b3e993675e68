"""The figures of each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpunn.display import html_table

__all__ = ["History"]

SHOWN = 30
"""Epochs that a notebook shows; of more, the first few and the last."""


class History(Mapping[str, list[float]]):
    """Figures of each epoch, as columns by name and as rows.

    Attributes
    ----------
    rows : list of dict
        One an epoch: "epoch" (from 1), "loss", metrics, "val_loss", ..., "learning_rate" (of the
        epoch's last update), "seconds" and "samples_per_second".
    stopped : str
        Why training ended before its last epoch; empty if it did not.

    Examples
    --------
    >>> history = History()
    >>> history.append({"epoch": 1, "loss": 0.5})
    >>> history.append({"epoch": 2, "loss": 0.25})
    >>> history["loss"]
    [0.5, 0.25]
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.stopped = ""

    def append(self, row: Mapping[str, float]) -> None:
        """Add an epoch."""
        self.rows.append(dict(row))

    def __getitem__(self, name: str) -> list[float]:
        """Return one figure of every epoch that has it."""
        column = [row[name] for row in self.rows if name in row]
        if not column:
            raise KeyError(name)
        return column

    def __iter__(self) -> Iterator[str]:
        """Iterate over the figures' names."""
        return iter(dict.fromkeys(name for row in self.rows for name in row))

    def __len__(self) -> int:
        """Return the number of figures."""
        return len(list(iter(self)))

    def __repr__(self) -> str:
        """Summarize."""
        return f"<History of {len(self.rows)} epochs: {', '.join(self)}>"

    def plot(self, *figures: str) -> Any:
        """Plot figures by epoch, each on axes of its own, training and validation together.

        Parameters
        ----------
        *figures : str
            Such as "loss" and "accuracy"; by default the loss and all metrics.

        Returns
        -------
        list of matplotlib.axes.Axes
            Of a figure that pyplot knows: a notebook shows it, a script calls
            `matplotlib.pyplot.show()`, and `axes[0].figure.savefig(...)` keeps it.

        Raises
        ------
        ArgumentError
            If there is no such figure, or no epoch yet.
        MissingPackageError
            If Matplotlib is not installed; it comes with the extra `report`.
        """
        from gpunn.reporting.notebook import plot_history

        return plot_history(self, figures)

    def _repr_html_(self) -> str:
        """Return the figures for a notebook, an epoch a row."""
        names = list(self)
        rows = [[f"{row[name]:.6g}" if name in row else "" for name in names] for row in self.rows]
        if len(rows) > SHOWN:
            rows = [*rows[:5], ["…"] * len(names), *rows[5 - SHOWN :]]
        return html_table(repr(self)[1:-1], names, rows)
