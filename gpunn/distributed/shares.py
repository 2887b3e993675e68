"""Divide the rows of a batch and the parameters among processes.

A batch of `rows` rows is cut into `shards` shards, by default one per process. Shard s has the rows
from rows * s // shards to rows * (s + 1) // shards - 1. The shards of a process are adjacent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpunn.errors import ArgumentError

ALIGNMENT = 16
"""Parameter arrays and ranks' blocks start at multiples of this number in the parameter vector."""


def share(rows: int, index: int, count: int) -> tuple[int, int]:
    return rows * index // count, rows * (index + 1) // count


def batches(rows: int, batch_size: int) -> Iterator[int]:
    for start in range(0, rows, batch_size):
        yield min(batch_size, rows - start)


def check_shards(shards: int, size: int) -> int:
    if shards == 0:
        return size
    if shards & (shards - 1):
        raise ArgumentError(
            f"shards: expected a power of two, or 0 for one shard per process; got {shards}"
        )
    if shards % size:
        raise ArgumentError(
            f"shards: {shards} shards can't be divided among {size} processes; start a number of "
            f"processes that divides {shards}, or set shards = 0"
        )
    return shards


@dataclass(frozen=True)
class Shares:
    """One process's part of each batch: shards `first` to `first + count - 1` out of `shards`."""

    shards: int = 1
    first: int = 0
    count: int = 1

    @classmethod
    def of_rank(cls, rank: int, size: int, shards: int = 0) -> Shares:
        shards = check_shards(shards, size)
        count = shards // size
        return cls(shards, rank * count, count)

    @property
    def whole(self) -> bool:
        return self.shards == 1

    def each(self, rows: int) -> list[tuple[int, int]]:
        local = range(self.first, self.first + self.count)
        return [share(rows, shard, self.shards) for shard in local]

    def bounds(self, rows: int) -> tuple[int, int]:
        return (
            rows * self.first // self.shards,
            rows * (self.first + self.count) // self.shards,
        )

    def rows_of(self, rows: int, batch_size: int) -> int:
        return sum(stop - start for start, stop in map(self.bounds, batches(rows, batch_size)))

    def positions(self, rows: int, batch_size: int, rows_per_update: int) -> np.ndarray:
        whole, rest = divmod(rows, rows_per_update)
        full = self._within(rows_per_update, batch_size)
        starts = np.arange(whole, dtype=np.int64)[:, np.newaxis] * rows_per_update
        last = whole * rows_per_update + self._within(rest, batch_size)
        return np.concatenate([(starts + full).reshape(-1), last])

    def _within(self, rows: int, batch_size: int) -> np.ndarray:
        parts, begin = [np.zeros(0, np.int64)], 0
        for batch in batches(rows, batch_size):
            start, stop = self.bounds(batch)
            parts.append(np.arange(begin + start, begin + stop, dtype=np.int64))
            begin += batch
        return np.concatenate(parts)


@dataclass(frozen=True)
class Block:
    """The block of parameters of one process: the parameters `start` to `stop` - 1.

    Each block has `length` parameters, except that the last blocks may have fewer.
    """

    length: int
    start: int
    stop: int

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)


def block_of(size: int, rank: int, ranks: int, shards: int | None = None) -> Block:
    # A block consists of shards' blocks, so results do not depend on the number of processes.
    shards = ranks if shards is None else shards
    length = -(-size // (shards * ALIGNMENT)) * ALIGNMENT * (shards // ranks)
    return Block(length, min(rank * length, size), min((rank + 1) * length, size))
