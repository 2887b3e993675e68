"""Places in memory where the steps of a loop read and write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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
    by_rows: bool
    """Whether the input is an array, divided by rows; otherwise, it is a number."""
    array: int
    offset: int = 0
    row_bytes: int = 0
    is_integer: bool = False


class Places:
    """The places of a loop, by their offsets in the table. A register has memory for a tile."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._inputs: list[tuple[Input, int]] = []
        self._own_bytes = 0

    def at(self, array: int, thread_bytes: int = 0) -> int:
        return self._new(Place(0, False, array, thread_bytes))

    def number(self) -> int:
        return self._own(BLOCK_BYTES, moves=False)

    def register(self, size: int) -> int:
        return self._own(-(-size // BLOCK_BYTES) * BLOCK_BYTES, moves=True)

    def input(self, given: Input) -> int:
        place = self._own(BLOCK_BYTES, moves=given.by_rows)
        self._inputs.append((given, place))
        return place

    def _new(self, place: Place) -> int:
        self._places.append(place)
        return (len(self._places) - 1) * PLACE_BYTES

    def _own(self, size: int, moves: bool) -> int:
        self._own_bytes += size
        return self._new(Place(self._own_bytes - size, moves))

    def arguments(
        self, threads: int, addresses: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Return all threads' memory, the inputs, a table's size, and how many inputs are numbers.

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
                    *(given.by_rows, addresses[given.array] + given.offset, given.row_bytes),
                    *(given.is_integer, place),
                    2 * size + self._places[place // PLACE_BYTES].offset,
                )
                for given, place in sorted(self._inputs)
            ],
            np.int64,
        )
        return memory, inputs, size, sum(not given.by_rows for given, _ in self._inputs)
