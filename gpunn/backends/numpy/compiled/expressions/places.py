"""Places in memory where the steps of a loop read and write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled import interface
from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES, PLACE_BYTES
from gpunn.backends.numpy.memory import zeros


class Place(NamedTuple):
    offset: int
    moves: bool
    """Whether each element has its own number; otherwise, all elements share one number."""
    array: int | None = None
    thread_bytes: int = 0
    """Bytes from one thread's memory to the next thread's memory."""


class Input(NamedTuple):
    kind: int
    array: int
    offset: int = 0
    row_bytes: int = 0
    is_integer: bool = False


class Places:
    """The places of a loop, by number. A register has memory for the numbers of a tile."""

    def __init__(self, register_bytes: int) -> None:
        self._register_bytes = register_bytes
        self._places: list[Place] = []
        self._inputs: list[tuple[Input, int]] = []
        self._own_bytes = 0

    def at(self, array: int, thread_bytes: int = 0) -> int:
        self._places.append(Place(0, False, array, thread_bytes))
        return len(self._places) - 1

    def number(self) -> int:
        return self._own(BLOCK_BYTES, moves=False)

    def register(self) -> int:
        return self._own(self._register_bytes, moves=True)

    def input(self, given: Input) -> int:
        if given.kind == interface.SCALAR:
            place = self.number()
        else:
            copied = 0 if given.kind == interface.MATRIX else self._register_bytes
            place = self._own(copied + BLOCK_BYTES, moves=True)
        self._inputs.append((given, place))
        return place

    def _own(self, size: int, moves: bool) -> int:
        self._places.append(Place(self._own_bytes, moves))
        self._own_bytes += size
        return len(self._places) - 1

    def arguments(
        self, threads: int, addresses: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Return all threads' memory, the inputs, a table's size, and the number of fixed inputs.

        The memory begins with two tables of places; see the kernel `expression`.
        """
        size = -(-len(self._places) * PLACE_BYTES // BLOCK_BYTES) * BLOCK_BYTES
        memory = zeros((threads, 2 * size + self._own_bytes), "uint8")
        tables = memory[:, : 2 * size].view(np.int64).reshape(threads, 2, -1, 2)
        for thread in range(threads):
            begin = address(memory) + thread * memory.shape[1] + 2 * size
            tables[thread, :, : len(self._places)] = [
                (begin + offset if array is None else addresses[array] + thread * step, moves)
                for offset, moves, array, step in self._places
            ]
        inputs = np.array(
            [
                (
                    *(given.kind, addresses[given.array] + given.offset, given.row_bytes),
                    *(given.is_integer, place * PLACE_BYTES, 2 * size + self._places[place].offset),
                )
                for given, place in sorted(self._inputs)
            ],
            np.int64,
        )
        fixed = sum(given.kind <= interface.COLUMN_VECTOR for given, _ in self._inputs)
        return memory, inputs, size, fixed
