"""A step as a program: instructions in a table, which threads run without returning to Python."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.kernel import Kernel
from gpunn.backends.numpy.compiled.threads import ROW, team

__all__ = ["Instruction", "Program", "bits"]


def bits(number: float) -> int:
    """Return the 64 bits of a float64 as an integer."""
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


@dataclass(frozen=True)
class Instruction:
    """A kernel with its arguments.

    Attributes
    ----------
    kernel : Kernel
    words : sequence of int
        Integers, addresses, and numbers as their bits.
    reads, writes : sequence of array
        The memory it looks at and changes, which must last as long as the program.
    early : bool
        Whether to do it as soon as what it needs is there, rather than where it was asked for.
    """

    kernel: Kernel
    words: Sequence[int]
    reads: Sequence[np.ndarray] = ()
    writes: Sequence[np.ndarray] = ()
    early: bool = False

    @property
    def dtype(self) -> str:
        """Type of the numbers that it computes with."""
        used = (array.dtype.name for array in (*self.reads, *self.writes))
        return next((name for name in used if name in ("float32", "float64")), "float32")

    def waits_for(self, other: Instruction) -> bool:
        """Return whether this must come after the other: one changes what the other uses."""
        reads, writes = extents(self.reads), extents(self.writes)
        other_writes = extents(other.writes)
        return overlap([*reads, *writes], other_writes) or overlap(writes, extents(other.reads))


def extents(arrays: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return where the memory of contiguous arrays begins and ends."""
    return [(array.ctypes.data, array.ctypes.data + array.nbytes) for array in arrays]


def overlap(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> bool:
    """Return whether a range of one list meets one of the other."""
    return any(a < d and c < b for a, b in some for c, d in others)


class Program:
    """Operations in order: instructions, and plain calls where there is no kernel for one.

    Parameters
    ----------
    operations : sequence of Instruction or callable
    threads : int
        How many run it.
    alone : callable
        Returns a context in which the BLAS leaves the other cores to the team.
    """

    def __init__(
        self,
        operations: Sequence[Instruction | Callable[[], None]],
        threads: int,
        alone: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._operations = list(operations)  # kept, since the table knows memory by address only
        self._threads, self._alone = threads, alone
        self._parts: list[np.ndarray | Callable[[], None]] = []
        self._places: list[tuple[np.ndarray, np.ndarray]] | None = None
        stretch: list[Instruction] = []
        for operation in [*operations, None]:
            if isinstance(operation, Instruction):
                stretch.append(operation)
                continue
            if stretch:
                self._parts.append(table_of(stretch))
                stretch = []
            if operation is not None:
                self._parts.append(operation)

    def __call__(self, times: int) -> None:
        """Do the operations `times` times."""
        # Asked for each time: a forked process has none of its parent's threads.
        run = team(self._threads).run
        with self._alone():
            if len(self._parts) == 1 and isinstance(self._parts[0], np.ndarray):
                run(self._parts[0], times)
                return
            for _ in range(times):
                for part in self._parts:
                    if isinstance(part, np.ndarray):
                        run(part, 1)
                    else:
                        part()

    def give(self, own: np.ndarray, argument: np.ndarray) -> None:
        """Let the program take `argument` in place of the array that it was made with."""
        if self._places is None:
            self._places = [
                (part, part == own.ctypes.data)
                for part in self._parts
                if isinstance(part, np.ndarray)
            ]
        alike = argument.flags.c_contiguous and argument.dtype == own.dtype
        if alike and len(self._places) == len(self._parts):
            for part, place in self._places:
                part[place] = argument.ctypes.data
        else:
            own[...] = argument
            for part, place in self._places:
                part[place] = own.ctypes.data


def arranged(instructions: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions, the early ones directly after the last that they wait for.

    So the update of a layer's weights finds their gradient in the cache.
    """
    order: list[Instruction] = []
    for instruction in instructions:
        place = len(order)
        if instruction.early:
            while place and not instruction.waits_for(order[place - 1]):
                place -= 1
        order.insert(place, instruction)
    return order


def table_of(instructions: Sequence[Instruction]) -> np.ndarray:
    """Return the table of instructions, with a barrier wherever one must wait for another."""
    order = arranged(instructions)
    table = np.zeros((len(order), ROW), np.int64)
    since_barrier: list[Instruction] = []
    for index, instruction in enumerate(order):
        if any(instruction.waits_for(other) for other in since_barrier):
            table[index - 1, 1] = 1
            since_barrier = []
        since_barrier.append(instruction)
        table[index, 0] = instruction.kernel.address(instruction.dtype)
        table[index, 2 : 2 + len(instruction.words)] = instruction.words
    table[-1, 1] = 1  # the next time begins with the first of them
    return table
