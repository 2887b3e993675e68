"""Calls of a step in which other processes take part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

__all__ = ["Collective"]


@dataclass(frozen=True, eq=False)
class Collective:
    """A function that a step calls, and that has to be called the same way by all ranks.

    It can be part of a CUDA graph. Whether it is, and of which graphs, has to be the same on all
    ranks.

    Attributes
    ----------
    function : callable
        Asks the device for the exchange.
    gather : callable
        Returns what each rank gives, by rank; the arguments are what this one gives, and a word of
        what it is. All ranks have to call it.
    graphs : WeakSet
        Graphs with such calls, which have to be destroyed before what the exchange goes by.
    """

    function: Callable[[], None]
    gather: Callable[[Any, str], list[Any]]
    graphs: WeakSet[Any]

    def __call__(self) -> None:
        """Ask for the exchange."""
        self.function()
