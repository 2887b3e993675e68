"""Is an epoch's figure better than the best so far? Shared by schedules and callbacks."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gpunn.errors import ArgumentError, suggest

__all__ = ["direction", "improved", "improvement_start", "monitored"]

LARGER_IS_BETTER = ("accuracy", "r2")


def direction(mode: str, monitor: str) -> str:
    """Return "min" or "max"; the mode "auto" is read off the figure's name.

    Raises
    ------
    ArgumentError
        If `mode` is none of "min", "max" and "auto".
    """
    if mode not in ("auto", "min", "max"):
        raise ArgumentError(f"mode: expected 'auto', 'min' or 'max'; got {mode!r}")
    if mode == "auto":
        return "max" if monitor.endswith(LARGER_IS_BETTER) else "min"
    return mode


def improvement_start(mode: str) -> float:
    """Return the figure that every finite figure improves on, for "min" or "max"."""
    return math.inf if mode == "min" else -math.inf


def improved(mode: str, figure: float, best: float, min_delta: float = 0.0) -> bool:
    """Return whether `figure` is better than `best` by more than `min_delta`."""
    gain = best - figure if mode == "min" else figure - best
    return gain > min_delta


def monitored(logs: Mapping[str, float], monitor: str) -> float:
    """Return the monitored figure of an epoch.

    Raises
    ------
    ArgumentError
        If the epoch has no such figure; the message names those it has.
    """
    if monitor not in logs:
        needs = " (it needs validation data)" if monitor.startswith("val_") else ""
        raise ArgumentError(
            f"monitor: the epoch has no figure {monitor!r}{needs}; {suggest(monitor, logs)}"
        )
    return logs[monitor]
