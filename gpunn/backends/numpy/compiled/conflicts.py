"""Find the instructions of a program that use the same memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

__all__ = ["Extent", "MemoryUser", "address", "conflicts_of", "extent"]


def address(array: np.ndarray) -> int:
    """Return the address of an array's memory."""
    # The value of `array.ctypes.data`, in a third of the time.
    return int(array.__array_interface__["data"][0])


class Extent(NamedTuple):
    """A contiguous array's memory; `rows` is the number of rows that threads divide, or 0."""

    begin: int
    end: int
    rows: int

    def meets(self, other: Extent) -> bool:
        """Return whether the two extents share memory."""
        return self.begin < other.end and other.begin < self.end

    def is_divided_like(self, other: Extent, threads: int) -> bool:
        """Return whether each thread uses the same part of the memory for both extents.

        If the number of threads divides both numbers of rows, all parts are equally large: for
        example, parts of images and parts of their pixels.
        """
        if (self.begin, self.end) != (other.begin, other.end) or not self.rows * other.rows:
            return False
        return self.rows == other.rows or self.rows % threads == other.rows % threads == 0


def extent(array: np.ndarray, by_rows: Sequence[np.ndarray]) -> Extent:
    """Return the memory of a contiguous array, and its number of rows if it is in `by_rows`."""
    begin = address(array)
    divided = bool(by_rows) and any(array is each for each in by_rows)
    return Extent(begin, begin + array.nbytes, array.shape[0] if divided else 0)


class MemoryUser(Protocol):
    """An instruction that uses memory."""

    @property
    def read_extents(self) -> list[Extent]:
        """The memory that the instruction reads."""

    @property
    def written_extents(self) -> list[Extent]:
        """The memory that the instruction writes."""


class Conflicts(NamedTuple):
    """For each instruction, the positions of instructions with which it conflicts.

    Two instructions conflict if they use the same memory, and at least one of them writes it.
    """

    all: list[set[int]]
    across_threads: list[set[int]]
    """Without instructions that divide the memory's rows in the same way: no thread waits."""


def conflicts_of(instructions: Sequence[MemoryUser], threads: int = sys.maxsize) -> Conflicts:
    """Return which instructions of a program for this number of threads conflict."""
    found = Conflicts([set() for _ in instructions], [set() for _ in instructions])
    uses = sorted(
        (each, position, writes)
        for position, one in enumerate(instructions)
        for extents, writes in ((one.read_extents, False), (one.written_extents, True))
        for each in extents
    )
    before: list[tuple[Extent, int, bool]] = []
    for use in uses:
        own, position, writes = use
        before = [each for each in before if each[0].end > own.begin]
        for other, number, other_writes in before:
            if (writes or other_writes) and number != position and other.meets(own):
                found.all[position].add(number)
                found.all[number].add(position)
                if not own.is_divided_like(other, threads):
                    found.across_threads[position].add(number)
                    found.across_threads[number].add(position)
        before.append(use)
    return found
