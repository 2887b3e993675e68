"""Which rows of a batch, and which parameters, belong to which process: arithmetic alone.

A batch of `rows` rows is cut into `shards` shards, number s being the rows from
rows * s // shards to rows * (s + 1) // shards. No row is padded, dropped or repeated, sizes differ
by one at most, and a shard of a batch with few rows may be empty. A process has neighbouring
shards; without a number of shards, one for each process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpunn.errors import ArgumentError

__all__ = ["Block", "Shares", "batches", "block_of", "check_shards", "share"]

ALIGNMENT = 16
"""Blocks of parameters begin at multiples of this many numbers, as each parameter does."""


def share(rows: int, index: int, count: int) -> tuple[int, int]:
    """Return the first row of share number `index` of `count`, and the one after its last."""
    return rows * index // count, rows * (index + 1) // count


def batches(rows: int, batch_size: int) -> Iterator[int]:
    """Yield the rows of each batch of an update."""
    for start in range(0, rows, batch_size):
        yield min(batch_size, rows - start)


def check_shards(shards: int, size: int) -> int:
    """Return the number of shards for so many processes, 0 meaning one for each.

    Raise an ArgumentError if it is no power of two that is a multiple of the number of processes.
    """
    if shards == 0:
        return size
    if shards & (shards - 1):
        raise ArgumentError(
            f"shards: expected a power of two, or 0 for one for each process; got {shards}"
        )
    if shards % size:
        raise ArgumentError(
            f"shards: {shards} shards can't be divided among {size} processes; start a number of "
            f"processes that divides {shards}, or set shards = 0"
        )
    return shards


@dataclass(frozen=True)
class Shares:
    """The shards of each batch that one process has: `count` of them all, from `first` on."""

    shards: int = 1
    first: int = 0
    count: int = 1

    @classmethod
    def of_rank(cls, rank: int, size: int, shards: int = 0) -> Shares:
        """Return those of process number `rank` of `size`."""
        shards = check_shards(shards, size)
        count = shards // size
        return cls(shards, rank * count, count)

    @property
    def whole(self) -> bool:
        """Whether a batch is one shard, and this process has it."""
        return self.shards == 1

    def each(self, rows: int) -> list[tuple[int, int]]:
        """Return where in a batch each shard of this process begins and ends."""
        own = range(self.first, self.first + self.count)
        return [share(rows, shard, self.shards) for shard in own]

    def bounds(self, rows: int) -> tuple[int, int]:
        """Return where in a batch the rows of this process begin and end."""
        return (
            rows * self.first // self.shards,
            rows * (self.first + self.count) // self.shards,
        )

    def rows_of(self, rows: int, batch_size: int) -> int:
        """Return how many rows of an update of `rows` rows this process has, in all batches."""
        return sum(stop - start for start, stop in map(self.bounds, batches(rows, batch_size)))

    def positions(self, rows: int, batch_size: int, rows_per_update: int) -> np.ndarray:
        """Return which rows of an epoch this process has, update after update.

        These are ascending positions in the epoch's order. `rows` are those that the epoch visits,
        or that are left of it.
        """
        whole, rest = divmod(rows, rows_per_update)
        full = self._within(rows_per_update, batch_size)
        starts = np.arange(whole, dtype=np.int64)[:, np.newaxis] * rows_per_update
        last = whole * rows_per_update + self._within(rest, batch_size)
        return np.concatenate([(starts + full).reshape(-1), last])

    def _within(self, rows: int, batch_size: int) -> np.ndarray:
        """Return which rows of one update this process has."""
        parts, begin = [np.zeros(0, np.int64)], 0
        for batch in batches(rows, batch_size):
            start, stop = self.bounds(batch)
            parts.append(np.arange(begin + start, begin + stop, dtype=np.int64))
            begin += batch
        return np.concatenate(parts)


@dataclass(frozen=True)
class Block:
    """The part of a flat vector that one process updates.

    The last blocks of this length may reach beyond the vector; `start` and `stop` don't.
    """

    length: int
    start: int
    stop: int

    @property
    def slice(self) -> slice:
        """The part of the vector."""
        return slice(self.start, self.stop)


def block_of(size: int, rank: int, ranks: int, shards: int | None = None) -> Block:
    """Return the block of process number `rank` of a vector of `size` numbers.

    It consists of the blocks that each of its shards would have, so that what is computed shard by
    shard does not depend on the number of processes.
    """
    shards = ranks if shards is None else shards
    length = -(-size // (shards * ALIGNMENT)) * ALIGNMENT * (shards // ranks)
    return Block(length, min(rank * length, size), min((rank + 1) * length, size))
