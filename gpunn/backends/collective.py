"""Calls in a recorded training step that exchange arrays between processes, or run concurrently."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from gpunn.backends.recording import Performer, Trace


@dataclass(frozen=True, eq=False)
class Collective:
    """An exchange of arrays between ranks in a training step.

    Either all ranks capture the exchange in a graph, or no rank does.
    """

    function: Callable[[], None]
    gather: Callable[[Any, str], list[Any]]
    """Returns the values of all ranks, starting with rank 0. Each rank calls this function with a
    value and a description of the value."""
    graphs: WeakSet[Any]
    """The graphs with the exchange, which must be destroyed before the ranks disconnect."""

    def __call__(self) -> None:
        self.function()


class Lane:
    def __init__(self) -> None:
        self.stream: Any = None  # set by a backend with concurrent streams


@dataclass(frozen=True, eq=False)
class Concurrent:
    """A call in a training step that starts a lane, which runs concurrently with later operations.

    The lane's operations start after the step's earlier operations have finished. Operations that
    come after the lane's `Join` wait until the lane's operations have finished.
    """

    lane: Lane
    backend: Performer
    trace: Trace

    def __call__(self) -> None:
        for one in self.trace:
            self.backend.perform(one)


@dataclass(frozen=True, eq=False)
class Join:
    lane: Lane

    def __call__(self) -> None:
        pass  # without concurrency, the lane's operations have already run
