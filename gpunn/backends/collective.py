"""Calls of a step that involve other processes, and operations that run concurrently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from gpunn.backends.recording import Performer, Trace

__all__ = ["Collective", "Concurrent", "Join", "Lane"]


@dataclass(frozen=True, eq=False)
class Collective:
    """A function that a step calls, and that all ranks must call in the same way.

    It can be part of a CUDA graph. All ranks must capture it in the same graphs, or none.
    """

    function: Callable[[], None]
    """Starts the exchange on the device."""
    gather: Callable[[Any, str], list[Any]]
    """Returns the values of all ranks, in the order of ranks. Its arguments are this rank's value,
    and a word that describes it. All ranks must call it."""
    graphs: WeakSet[Any]
    """Graphs with such calls. They must be destroyed before the connection of the exchange."""

    def __call__(self) -> None:
        """Start the exchange."""
        self.function()


class Lane:
    """Operations that run in order, concurrently with a step's other operations."""

    def __init__(self) -> None:
        self.stream: Any = None  # set by an engine with concurrent streams


@dataclass(frozen=True, eq=False)
class Concurrent:
    """A function that a step calls: operations that may run concurrently with later ones.

    They start after all earlier operations, and end before the operations after the lane's `Join`.
    """

    lane: Lane
    backend: Performer
    trace: Trace

    def __call__(self) -> None:
        """Run the operations immediately, on an engine without lanes."""
        for one in self.trace:
            self.backend.perform(one)


@dataclass(frozen=True, eq=False)
class Join:
    """A function that a step calls: later operations wait for all operations in the lane."""

    lane: Lane

    def __call__(self) -> None:
        """Do nothing, on an engine without lanes."""
