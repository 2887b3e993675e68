"""Calls within a training step: exchanges with other processes, and concurrent operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from gpunn.backends.recording import Performer, Trace

__all__ = ["Collective", "Concurrent", "Join", "Lane"]


@dataclass(frozen=True, eq=False)
class Collective:
    """An exchange within a step, which all ranks must call in the same way.

    Either all ranks capture the call in the same CUDA graphs, or no rank captures it.
    """

    function: Callable[[], None]
    """The function that starts the exchange on the device."""
    gather: Callable[[Any, str], list[Any]]
    """Returns the values of all ranks, in the order of ranks. All ranks must call this function,
    each with its value and a word that describes the value."""
    graphs: WeakSet[Any]
    """Graphs with calls of the exchange. They must be destroyed before the exchange's
    connection."""

    def __call__(self) -> None:
        """Start the exchange."""
        self.function()


class Lane:
    """Operations that run in order, concurrently with a step's other operations."""

    def __init__(self) -> None:
        self.stream: Any = None  # set by an engine with concurrent streams


@dataclass(frozen=True, eq=False)
class Concurrent:
    """A call within a step: operations that may run concurrently with later operations.

    The lane's operations start after all earlier operations. They end before the operations that
    follow the lane's `Join`.
    """

    lane: Lane
    backend: Performer
    trace: Trace

    def __call__(self) -> None:
        """Run the operations immediately; engines without lanes call this."""
        for one in self.trace:
            self.backend.perform(one)


@dataclass(frozen=True, eq=False)
class Join:
    """A call within a step that makes later operations wait for all operations in the lane."""

    lane: Lane

    def __call__(self) -> None:
        """Do nothing; engines without lanes call this."""
