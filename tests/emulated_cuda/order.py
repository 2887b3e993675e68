"""What a program may rely on to run before what, though all work runs at once here.

Each piece of work gets a number. A clock says, for each stream, up to which number its work is
known to come before something: before the next work of a stream, before an event, or before what
the host does next (Mattern 1989, "Virtual Time and Global States of Distributed Systems").
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

__all__ = ["Clock", "Order", "merge"]

Clock: TypeAlias = dict[int, int]
"""Serial number of a stream -> number of the last work."""


def merge(clock: Clock, other: Clock) -> None:
    """Let what ``other`` has seen be seen by ``clock``."""
    for stream, number in other.items():
        if clock.get(stream, 0) < number:
            clock[stream] = number


class Order:
    """The numbers of work, and what the host has waited for."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._host: Clock = {}

    def submit(self, stream: int, clock: Clock) -> None:
        """A stream, whose clock this is, gets another piece of work."""
        clock[stream] = next(self._numbers)

    def host_waited(self, clock: Clock) -> None:
        """The host knows that all of this has run."""
        merge(self._host, clock)

    def unfinished(self, uses: Clock, clock: Clock | None = None) -> Clock:
        """Of some uses of memory, those that neither the host nor ``clock`` knows to be over."""
        return {
            stream: number
            for stream, number in uses.items()
            if self._host.get(stream, 0) < number
            and (clock is None or clock.get(stream, 0) < number)
        }
