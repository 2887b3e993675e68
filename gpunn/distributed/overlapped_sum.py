"""Sum a vector over ranks, part by part, during the computation of later parts.

PyTorch's DistributedDataParallel also does this (Li et al. 2020, "PyTorch Distributed").
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from gpunn.backends.collective import Concurrent, Join, Lane
from gpunn.backends.recording import record
from gpunn.distributed.collectives import Collectives
from gpunn.distributed.shares import ALIGNMENT
from gpunn.typing import Array

Span: TypeAlias = tuple[int, int]


class Move(NamedTuple):
    """A transfer of the sums `start` to `stop - 1` of a vector, from rank `source` to `target`."""

    source: int
    target: int
    start: int
    stop: int


def cut(span: Span, ranks: int) -> list[Span]:
    start, stop = span
    length = -(-(stop - start) // (ranks * ALIGNMENT)) * ALIGNMENT
    bounds = [min(start + rank * length, stop) for rank in range(ranks + 1)]
    return list(pairwise(bounds))


def moves(span: Span, ranks: int, length: int) -> list[Move]:
    moves = []
    for source, (start, stop) in enumerate(cut(span, ranks)):
        for target in range(ranks):
            first, last = max(start, target * length), min(stop, (target + 1) * length)
            if first < last:
                moves.append(Move(source, target, first, last))
    return moves


class OverlappedSum:
    """Sums a vector over ranks, part by part; `out` receives the sums of this rank's block.

    Rank k's block has `length` numbers of the vector, from number k * length on; the last block may
    extend beyond the vector. The sums are bitwise identical to the sums of one all-to-all exchange.
    """

    out: Array

    def __init__(self, collectives: Collectives, vector: Array, length: int) -> None:
        self._collectives, self._ops = collectives, collectives.ops
        self._vector, self._length = vector, length
        self._rank, self._ranks = collectives.rank, collectives.size
        self._lane = Lane()
        self._received: dict[Span, Array] = {}

    def add(self, parts: Sequence[Span]) -> None:
        trace = record(lambda: self._sum(parts), self._ops)
        self._ops.call(Concurrent(self._lane, self._ops, trace))

    def join(self) -> None:
        self._ops.call(Join(self._lane))

    def _sum(self, parts: Sequence[Span]) -> None:
        vector, rank, ranks = self._vector, self._rank, self._ranks
        sends, receives = [], []
        for part in parts:
            pieces = cut(part, ranks)
            start, stop = pieces[rank]
            received = self._buffer(part, stop - start)
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
                    target = self.out[first : first + move.stop - move.start]
                    receives.append((target, move.source))
        self._collectives.exchange(sends, receives)

    def _buffer(self, part: Span, length: int) -> Array:
        if part not in self._received:
            dtype = self._ops.dtype_name(self._vector)
            self._received[part] = self._ops.zeros((self._ranks, length), dtype)
        return self._received[part]
