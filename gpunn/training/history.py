"""The figures of each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["History"]


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
