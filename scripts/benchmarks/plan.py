"""What a run is asked to measure, and what a mode gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.session import Rounds
from benchmarks.work import GRID_BATCHES, GRID_RATES, GRID_SIZES, MNIST_TASKS, Task

PLURAL = {"median": "medians", "minimum": "minima"}
"""The statistics of quiet turns, as texts name them."""


@dataclass(frozen=True)
class Plan:
    """The choices that all modes share.

    Attributes
    ----------
    seconds : float
        Of training in a turn of the grid, of timing in one of `gemm`.
    epochs, most_epochs : int
        Of `mnist`; of `time-to-98`, whether or not it gets there.
    target : float
        Accuracy that `time-to-98` waits for.
    statistic : {"median", "minimum"}
        Of quiet turns, that ratios are taken of.
    folder : Path or None
        With MNIST, as `work.keep_mnist` writes it.
    """

    threads: int
    rounds: Rounds = field(default_factory=lambda: Rounds(3, 2))
    sizes: tuple[tuple[int, ...], ...] = GRID_SIZES
    batches: tuple[int, ...] = GRID_BATCHES
    optimizers: tuple[str, ...] = tuple(GRID_RATES)
    seconds: float = 0.3
    tasks: tuple[Task, ...] = MNIST_TASKS
    epochs: int = 5
    most_epochs: int = 20
    target: float = 0.98
    statistic: str = "median"
    folder: Path | None = None

    @property
    def statistics(self) -> str:
        """What the figures are, in a sentence."""
        return PLURAL[self.statistic]


@dataclass(frozen=True)
class Report:
    """What a mode has measured.

    Attributes
    ----------
    rows : list of dict
        Every figure, in JSON types.
    text : str
        The tables.
    """

    rows: list[dict[str, Any]]
    text: str
