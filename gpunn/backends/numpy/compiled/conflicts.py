"""Find the instructions of a program that use the same memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from gpunn.backends.numpy import memory


class Extent(NamedTuple):
    """The addresses of a contiguous array: from `begin` up to, but without, `end`.

    If threads divide the array's rows, `rows` is the number of rows, otherwise 0.
    """

    begin: int
    end: int
    rows: int

    def meets(self, other: Extent) -> bool:
        return self.begin < other.end and other.begin < self.end

    def is_divided_like(self, other: Extent, threads: int) -> bool:
        # An instruction may divide images, and another instruction may divide the images' pixels.
        if (self.begin, self.end) != (other.begin, other.end) or not self.rows * other.rows:
            return False
        return self.rows == other.rows or self.rows % threads == other.rows % threads == 0


class Known(threading.local):
    """Maps each array's id to (array, extent). Storing the array prevents reuse of its id."""

    whole: dict[int, tuple[np.ndarray, Extent]] | None = None
    divided: dict[int, tuple[np.ndarray, Extent]] | None = None


KNOWN = Known()


@contextmanager
def known_extents() -> Iterator[None]:
    outer = KNOWN.whole, KNOWN.divided
    KNOWN.whole, KNOWN.divided = {}, {}
    try:
        yield
    finally:
        KNOWN.whole, KNOWN.divided = outer


def extent(array: np.ndarray, divided: bool = False) -> Extent:
    known = KNOWN.divided if divided else KNOWN.whole
    found = None if known is None else known.get(id(array))
    if found is None:
        begin = extent(array).begin if divided else memory.address(array)
        own = Extent(begin, begin + array.nbytes, array.shape[0] if divided else 0)
        if known is not None:
            known[id(array)] = array, own
        return own
    return found[1]


def address(array: np.ndarray) -> int:
    return extent(array).begin


class MemoryUser(Protocol):
    @property
    def read_extents(self) -> list[Extent]: ...

    @property
    def written_extents(self) -> list[Extent]: ...


User = TypeVar("User", bound=MemoryUser)


class Uses(Generic[User]):
    def __init__(self, instructions: Sequence[User]) -> None:
        self.instructions = instructions
        self._readers: dict[Extent, list[int]] = {}
        self._writers: dict[Extent, list[int]] = {}
        for position, one in enumerate(instructions):
            for each in one.read_extents:
                self._readers.setdefault(each, []).append(position)
            for each in one.written_extents:
                self._writers.setdefault(each, []).append(position)
        self._others: dict[Extent, list[Extent]] = {}
        """Maps an extent to all other extents with common memory."""
        before: list[Extent] = []
        for own in sorted(self._readers.keys() | self._writers.keys()):
            if before:
                before = [each for each in before if each.end > own.begin]
                for other in before:
                    if other.meets(own):
                        self._others.setdefault(own, []).append(other)
                        self._others.setdefault(other, []).append(own)
            before.append(own)

    def readers_of(self, extents: Sequence[Extent]) -> set[int]:
        return self._users(self._readers, extents)

    def conflicts_of(self, position: int) -> set[int]:
        one = self.instructions[position]
        writers = self._users(self._writers, (*one.read_extents, *one.written_extents))
        return (writers | self.readers_of(one.written_extents)) - {position}

    def _users(
        self, positions: Mapping[Extent, Sequence[int]], extents: Sequence[Extent]
    ) -> set[int]:
        shared = (other for each in extents for other in (each, *self._others.get(each, ())))
        return {number for each in shared for number in positions.get(each, ())}

    def waiting(self, threads: int, starts: Sequence[int]) -> list[int]:
        """Return the positions before which threads must wait at a barrier.

        Barriers are only between groups; `starts[i]` is where the group of instruction i starts.
        Instructions that divide the rows of their common memory in the same way need no barrier.
        """
        found, barrier = list[int](), 0
        used: dict[Extent, int] = {}
        written: dict[Extent, int] = {}  # the last instruction that uses, or writes, an extent
        for position, one in enumerate(self.instructions):
            pairs = [(one.read_extents, written), (one.written_extents, used)]
            if any(
                latest.get(other, -1) >= barrier and not each.is_divided_like(other, threads)
                for extents, latest in pairs
                for each in extents
                for other in (each, *self._others.get(each, ()))
            ):
                barrier = starts[position]
                found.append(barrier)
            used |= dict.fromkeys((*one.read_extents, *one.written_extents), position)
            written |= dict.fromkeys(one.written_extents, position)
        return found
