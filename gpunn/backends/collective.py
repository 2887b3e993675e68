"""Calls of a step in which other processes take part, and operations beside those that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from gpunn.backends.recording import Performer, Trace

__all__ = ["Beside", "Collective", "Join", "Lane"]


@dataclass(frozen=True, eq=False)
class Collective:
    """A function that a step calls, and that has to be called the same way by all ranks.

    It can be part of a CUDA graph. Whether it is, and of which graphs, has to be the same on all
    ranks.
    """

    function: Callable[[], None]
    """Asks the device for the exchange."""
    gather: Callable[[Any, str], list[Any]]
    """Returns what each rank gives, by rank; the arguments are what this one gives, and a word of
    what it is. All ranks have to call it."""
    graphs: WeakSet[Any]
    """Graphs with such calls, which have to be destroyed before what the exchange goes by."""

    def __call__(self) -> None:
        """Ask for the exchange."""
        self.function()


class Lane:
    """What runs in order by itself, beside a step's other operations."""

    def __init__(self) -> None:
        self.stream: Any = None  # what an engine has for it


@dataclass(frozen=True, eq=False)
class Beside:
    """A function that a step calls: operations that may run at the same time as those after it.

    They come after all that were asked for before, and before what comes after the lane's `Join`.
    """

    lane: Lane
    backend: Performer
    trace: Trace

    def __call__(self) -> None:
        """Do them now, where there are no lanes."""
        for one in self.trace:
            self.backend.perform(one)


@dataclass(frozen=True, eq=False)
class Join:
    """A function that a step calls: what follows comes after all in the lane."""

    lane: Lane

    def __call__(self) -> None:
        """Do nothing, where there are no lanes."""
