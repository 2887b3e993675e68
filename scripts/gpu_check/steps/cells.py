"""What is timed: trainings of four networks, and what a library says of a stretch of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import device

NETWORKS = ((784, 512, 512, 10), (784, 128, 10), (784, 2048, 2048, 10), (64, 32, 10))
BATCHES = (128, 1024, 8192)
RULES = (
    *(("adam", "float32"), ("adam", "tf32"), ("sgd", "float32")),
    *(("adam", "bfloat16"), ("sgd", "tf32"), ("sgd", "bfloat16")),
)
"""Optimizers, and what products may be computed in."""


@dataclass(frozen=True)
class Cell:
    """A training to time.

    Attributes
    ----------
    sizes : tuple of int
        Widths of all layers, inputs and outputs included.
    batch : int
    optimizer : {"adam", "sgd"}
    precision : {"float32", "tf32", "bfloat16"}
        What products may be computed in.
    """

    sizes: tuple[int, ...]
    batch: int
    optimizer: str
    precision: str

    @property
    def name(self) -> str:
        """What tables call it."""
        network = "-".join(map(str, self.sizes))
        return f"{network}, batch {self.batch}, {self.optimizer}, {self.precision}"

    def figures(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {**asdict(self), "sizes": list(self.sizes)}


def in_order(whole: bool) -> list[Cell]:
    """Return the cells, those worth most first; not the whole grid, but its first two otherwise."""
    if device.REHEARSAL:
        return [Cell((64, 16, 10), 16, optimizer, "float32") for optimizer in ("adam", "sgd")]
    quick = [Cell(NETWORKS[0], batch, *RULES[0]) for batch in BATCHES[:2]]
    grid = (Cell(sizes, batch, *rule) for rule, sizes, batch in product(RULES, NETWORKS, BATCHES))
    return [*quick, *(cell for cell in grid if whole and cell not in quick)]


@dataclass(frozen=True)
class Stretch:
    """Some epochs of a training.

    Attributes
    ----------
    seconds : float
        By the host's clock, from before the first permutation is drawn to after the last epoch's
        loss is read.
    device_seconds : float or None
        Between CUDA events at the first step and after the last one of each epoch; None for a
        library that gives no access to its stream.
    losses : sequence of float
        The mean loss of each epoch.
    predict : callable
        Returns the classes of some rows.
    peak_bytes : int or None
        The most that the library's allocator has held in this training; None where it can't tell.
    """

    seconds: float
    device_seconds: float | None
    losses: Sequence[float]
    predict: Callable[[Any], Any]
    peak_bytes: int | None = None


Ask = Callable[[Stretch | None], int]
"""Given the last stretch, returns how many epochs the next one has; 0 ends the training."""
