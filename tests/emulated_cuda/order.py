"""The guaranteed order of work, although all work runs immediately here.

Each piece of work gets a number. For each stream, a clock has the number up to which work is known
to have finished before some point. Such a point is the next work of a stream, an event, or the
host's next call (Mattern 1989, "Virtual Time and Global States of Distributed Systems").
"""

import itertools
from dataclasses import dataclass
from typing import TypeAlias

from .errors import RaceError

__all__ = ["Access", "Clock", "GraphOrder", "Order", "merge"]

Clock: TypeAlias = dict[int, int]
"""Serial number of a stream -> number of the last work."""


def merge(clock: Clock, other: Clock) -> None:
    for stream, number in dict(other).items():  # a copy, since other threads may add to it
        if clock.get(stream, 0) < number:
            clock[stream] = number


class Order:
    """The numbers of work, and the work that the host has waited for."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._host: Clock = {}

    def submit(self, stream: int, clock: Clock) -> None:
        clock[stream] = next(self._numbers)

    def host_waited(self, clock: Clock) -> None:
        merge(self._host, clock)

    def add_host(self, clock: Clock) -> None:
        merge(clock, self._host)

    def unfinished(self, uses: Clock, clock: Clock | None = None) -> Clock:
        """The uses of memory that neither the host nor ``clock`` knows to have finished."""
        return {
            stream: number
            for stream, number in dict(uses).items()
            if self._host.get(stream, 0) < number
            and (clock is None or clock.get(stream, 0) < number)
        }


@dataclass(frozen=True)
class Access:
    start: int
    stop: int
    written: bool
    what: str


class GraphOrder:
    """The accesses of a graph's branches, or of streams.

    None may write what another uses at the same time.
    """

    def __init__(self) -> None:
        self._nodes: dict[int, list[tuple[int, list[Access]]]] = {}  # stream -> number, accesses

    def add(self, stream: int, clock: Clock, accesses: list[Access]) -> None:
        """Add a node, after all nodes in its clock; raise a RaceError if it conflicts with one."""
        for other, nodes in tuple(self._nodes.items()):  # other threads may add streams
            for number, earlier in reversed(nodes):
                if number <= clock.get(other, 0):
                    break
                for first in earlier:
                    for second in accesses:
                        self._check(first, second)
        self._nodes.setdefault(stream, []).append((clock[stream], accesses))

    def _check(self, first: Access, second: Access) -> None:
        overlap = first.start < second.stop and second.start < first.stop
        if overlap and (first.written or second.written):
            verbs = ["writes" if each.written else "reads" for each in (first, second)]
            raise RaceError(
                f"{second.what}: a node of a graph {verbs[1]} memory at {second.start:#x}, while "
                f"{first.what} {verbs[0]} it in another branch or stream. Make one wait for an "
                "event of the other"
            )
