"""Sums over ranks of a vector whose parts come one after the other.

A step's gradients come from the last layer to the first. To begin with the sums of those that are
there, while others are being computed, is what PyTorch's DistributedDataParallel does (Li et al.
2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training").
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from gpunn.backends.collective import Concurrent, Join, Lane
from gpunn.backends.recording import record
from gpunn.distributed.collectives import Collectives
from gpunn.distributed.shares import ALIGNMENT
from gpunn.typing import Array

__all__ = ["Move", "OverlappedSum", "Span", "cut", "moves"]

Span: TypeAlias = tuple[int, int]
"""Where a part of a vector begins and ends."""


class Move(NamedTuple):
    """Sums, in a part of the vector, that one rank has computed and one, maybe the same, owns."""

    source: int
    target: int
    start: int
    stop: int


def cut(span: Span, ranks: int) -> list[Span]:
    """Return the pieces of a part, one for each rank; the last ones may be empty."""
    start, stop = span
    length = -(-(stop - start) // (ranks * ALIGNMENT)) * ALIGNMENT
    bounds = [min(start + rank * length, stop) for rank in range(ranks + 1)]
    return list(pairwise(bounds))


def moves(span: Span, ranks: int, length: int) -> list[Move]:
    """Return how the sums of a part get from their pieces to the blocks, of `length` each."""
    found = []
    for source, (start, stop) in enumerate(cut(span, ranks)):
        for target in range(ranks):
            first, last = max(start, target * length), min(stop, (target + 1) * length)
            if first < last:
                found.append(Move(source, target, first, last))
    return found


class OverlappedSum:
    """Sums a vector over ranks, part by part; each rank gets the sums of its block in `out`.

    Each part is cut into a piece for each rank, which gets all ranks' numbers of it, adds them up,
    and sends the sums to the ranks that own them. So all ranks receive at the same time, although a
    part may lie in one rank's block. The sums are those of one all-to-all exchange, bit by bit.
    Blocks are of `length` numbers; the last one may reach beyond the vector.
    """

    out: Array

    def __init__(self, collectives: Collectives, vector: Array, length: int) -> None:
        self._collectives, self._ops = collectives, collectives.ops
        self._vector, self._length = vector, length
        self._rank, self._ranks = collectives.rank, collectives.size
        self._lane = Lane()
        self._received: dict[Span, Array] = {}

    def add(self, parts: Sequence[Span]) -> None:
        """Begin with some parts, which are there; what follows does not wait for it."""
        trace = record(lambda: self._sum(parts), self._ops)
        self._ops.call(Concurrent(self._lane, self._ops, trace))

    def join(self) -> None:
        """Let what follows wait for all sums."""
        self._ops.call(Join(self._lane))

    def _sum(self, parts: Sequence[Span]) -> None:
        vector, rank, ranks = self._vector, self._rank, self._ranks
        sends, receives = [], []
        for part in parts:
            pieces = cut(part, ranks)
            start, stop = pieces[rank]
            received = self._room(part, stop - start)
            sends += [(vector[a:b], peer) for peer, (a, b) in enumerate(pieces) if a < b]
            receives += [(received[peer], peer) for peer in range(ranks) if start < stop]
        self._collectives.exchange(sends, receives)
        sends, receives = [], []
        for part in parts:
            begin = cut(part, ranks)[rank][0]
            total = self._collectives.sum_in_tree(self._received[part])
            for move in moves(part, ranks, self._length):
                if move.source == rank:
                    sends.append((total[move.start - begin : move.stop - begin], move.target))
                if move.target == rank:
                    first = move.start - rank * self._length
                    here = self.out[first : first + move.stop - move.start]
                    receives.append((here, move.source))
        self._collectives.exchange(sends, receives)

    def _room(self, part: Span, length: int) -> Array:
        if part not in self._received:
            dtype = self._ops.dtype_name(self._vector)
            self._received[part] = self._ops.zeros((self._ranks, length), dtype)
        return self._received[part]
