"""The progress bar of an epoch, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(title: str, rows: int, shown: bool) -> Any:
    """Return a bar with `update(rows)`, `set_postfix(figures, refresh=...)` and `close()`."""
    if not shown:
        return NoBar()
    from tqdm import tqdm

    # In a file each new drawing is a line of its own, so there should be few.
    interval = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(
        total=rows,
        desc=title,
        unit=" samples",
        unit_scale=True,
        file=sys.stderr,
        mininterval=interval,
    )


class NoBar:
    """Stands for a progress bar that isn't shown."""

    def update(self, rows: int) -> None:
        """Do nothing."""

    def set_postfix(self, figures: Mapping[str, float], *, refresh: bool = True) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
