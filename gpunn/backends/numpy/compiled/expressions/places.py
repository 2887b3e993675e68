"""Places: the addresses where the steps of a loop read and write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.interface import (
    BLOCK_BYTES,
    CHUNK_BYTES,
    INPUT_BYTES,
    PLACE_BYTES,
)
from gpunn.backends.numpy.memory import zeros

NONE, MEMORY = -2, -1
"""Indices of the last entries of a list of addresses: 0, and the address of the loop's memory."""


class Place(NamedTuple):
    offset: int
    moves: bool
    """Whether each element has its own number; otherwise, all elements share one number."""
    array: int | None = None
    thread_bytes: int = 0
    """Bytes from one thread's memory to the next thread's memory."""


class Input(NamedTuple):
    by_rows: bool
    """Whether each tile reads its own rows of the array. Otherwise, the input is one number."""
    array: int
    offset: int = 0
    row_bytes: int = 0
    integer: int = 0
    """0 for floating-point numbers, 1 for integers, k > 1 for remainders by k, -k for quotients."""
    is_result: bool = False


class Places:
    """The addresses at which a loop reads and writes. `register` reserves memory for one tile."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._inputs: list[tuple[Input, int]] = []
        self._own_bytes = 0

    def at(self, array: int, thread_bytes: int = 0) -> int:
        return self._new(Place(0, False, array, thread_bytes))

    def number(self) -> int:
        return self._own(CHUNK_BYTES, moves=False)

    def register(self, size: int) -> int:
        return self._own(-(-size // CHUNK_BYTES) * CHUNK_BYTES, moves=True)

    def input(self, given: Input) -> int:
        place = self._own(CHUNK_BYTES, moves=given.by_rows)
        self._inputs.append((given, place))
        return place

    def _new(self, place: Place) -> int:
        self._places.append(place)
        return (len(self._places) - 1) * PLACE_BYTES

    def _own(self, size: int, moves: bool) -> int:
        self._own_bytes += size
        return self._new(Place(self._own_bytes - size, moves))

    def layout(self, threads: int) -> Layout:
        return Layout(self._places, sorted(self._inputs), self._own_bytes, threads)


class Layout:
    """The layout of a loop's memory. `memory` allocates memory and writes the addresses into it."""

    def __init__(
        self,
        places: Sequence[Place],
        inputs: Sequence[tuple[Input, int]],
        own_bytes: int,
        threads: int,
    ) -> None:
        self.table_bytes = size = -(-len(places) * PLACE_BYTES // BLOCK_BYTES) * BLOCK_BYTES
        self.thread_bytes = 2 * size + own_bytes
        self.inputs, self.numbers = len(inputs), sum(not given.by_rows for given, _ in inputs)
        self.begin_of_inputs = threads * self.thread_bytes
        self._bytes = self.begin_of_inputs + self.inputs * INPUT_BYTES
        words = list[int]()  # position, number of an address, what is added
        for thread in range(threads):
            begin = thread * self.thread_bytes
            for table in (begin, begin + size):
                for k, (offset, moves, array, step) in enumerate(places):
                    at = (table + k * PLACE_BYTES) // 8
                    own = MEMORY, begin + 2 * size + offset
                    words += at, *(own if array is None else (array, thread * step))
                    words += at + 1, NONE, moves
        for k, (given, place) in enumerate(inputs):
            at = (self.begin_of_inputs + k * INPUT_BYTES) // 8
            own_offset = 2 * size + places[place // PLACE_BYTES].offset
            words += at + 1, given.array, given.offset
            rest = (0, given.by_rows + given.is_result), (2, given.row_bytes), (3, given.integer)
            for position, value in (*rest, (4, place), (5, own_offset)):
                words += at + position, NONE, value
        self._at, self._addresses, self._added = np.array(words, np.int64).reshape(-1, 3).T

    def memory(self, addresses: Sequence[int]) -> np.ndarray:
        memory = zeros((self._bytes,), "uint8")
        used = np.array([*addresses, 0, address(memory)])
        memory.view(np.int64)[self._at] = used[self._addresses] + self._added
        return memory
