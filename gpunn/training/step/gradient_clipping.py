"""Gradient clipping: scale gradients down if their norm exceeds the optimizer's `max_norm`."""

from collections.abc import Sequence

from gpunn.backends import Backend
from gpunn.distributed.collectives import Collectives
from gpunn.distributed.shares import Shares
from gpunn.typing import Array


def clip_gradients(ops: Backend, gradients: Array, max_norm: float | None) -> None:
    if max_norm is not None:
        ops.clip(gradients, max_norm)


class DistributedClipping:
    """Clips each rank's block of the gradients by the norm over all ranks.

    The squared norm is summed shard by shard, so the sum does not depend on the number of ranks.
    """

    def __init__(
        self, ops: Backend, collectives: Collectives, shares: Shares, ranks: int, dtype: str
    ) -> None:
        self._ops, self._collectives = ops, collectives
        self._first, self._count, self._ranks = shares.first, shares.count, ranks
        self._squares = ops.zeros((shares.shards,), dtype)

    def clip(
        self, gradients: Array, pieces: Sequence[tuple[int, int]], max_norm: float | None
    ) -> None:
        # `pieces` contains the start and the end of each local shard's part of the gradients.
        if max_norm is None:
            return
        local = self._squares[self._first : self._first + self._count]
        for shard, (start, stop) in enumerate(pieces):
            part = gradients[start : max(start, stop)]
            if part.shape[0]:
                self._ops.sum_of_squares(part, local[shard : shard + 1])
        ranks = self._ops.xp.reshape(self._squares, (self._ranks, self._count))
        self._collectives.all_gather(local, ranks)
        if gradients.shape[0]:
            self._ops.clip_to(gradients, self._squares, max_norm)
