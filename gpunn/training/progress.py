"""The progress bar of an epoch, in terminals and notebooks."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(title: str, rows: int, wanted: bool) -> Any:
    """Return a bar with `update(rows)`, `set_postfix(figures, refresh=...)` and `close()`.

    In a file or a pipe nobody would see it move, so there is none.
    """
    notebook = in_notebook()
    if not wanted or not (notebook or sys.stderr.isatty()):
        return NoBar()
    from tqdm import tqdm

    if notebook and has_widgets():
        from tqdm.notebook import tqdm
    return tqdm(total=rows, desc=title, unit=" samples", unit_scale=True, file=sys.stderr)


def has_widgets() -> bool:
    """Return whether notebooks can show tqdm's own widgets."""
    return importlib.util.find_spec("ipywidgets") is not None


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this, to which standard error is a pipe."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", ())


class NoBar:
    """Stands for a progress bar that isn't shown."""

    def update(self, rows: int) -> None:
        """Do nothing."""

    def set_postfix(self, figures: Mapping[str, float], *, refresh: bool = True) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
