"""Collective calls as operations of a step, on arrays of any backend."""

from __future__ import annotations

from functools import partial

import numpy as np

from gpunn.backends import Backend
from gpunn.distributed.communicator import Communicator
from gpunn.typing import Array

__all__ = ["Collectives"]

FEW = 8
"""Rows that are added up one by one; for more, a step would become long."""


class Collectives:
    """Lets the arrays of a backend take part in the collective calls of a communicator.

    A communicator takes arrays of the host. Those of a device are copied there and back, each time
    that a step gets to the call.
    """

    def __init__(self, backend: Backend, communicator: Communicator) -> None:
        self.ops, self.communicator = backend, communicator
        self.rank, self.size = communicator.rank, communicator.size

    def all_to_all(self, blocks: Array, out: Array) -> None:
        """Set out[r] to what rank r has as blocks[this rank]."""
        self.ops.call(partial(self._done, self.communicator.all_to_all, blocks, out))

    def all_gather(self, block: Array, out: Array) -> None:
        """Set out[r] to the block of rank r."""
        self.ops.call(partial(self._done, self.communicator.all_gather, block, out))

    def sum_over_ranks(self, values: Array, gathered: Array, out: Array) -> None:
        """Set out = the sum of all ranks' values, in the order of ranks.

        Parameters
        ----------
        values, out : array, shape (length,)
        gathered : array, shape (size, length)
            Room for the values of all.
        """
        self.all_gather(values, gathered)
        self.ops.assign(gathered[0], out)
        for rank in range(1, self.size):
            self.ops.accumulate(gathered[rank], out)

    def sum_in_tree(self, parts: Array) -> Array:
        """Add up rows by a tree that depends on their number alone, and return the sum, a row.

        Rows 2i and 2i + 1 first, then these sums two by two, and so on: with a power of two of
        rows, the sums of halves are themselves such trees. The rows are overwritten.
        """
        step, rows = 1, int(parts.shape[0])
        while step < rows:
            pairs = len(range(0, rows - step, 2 * step))
            if pairs <= FEW:
                for first in range(0, rows - step, 2 * step):
                    self.ops.accumulate(parts[first + step], parts[first])
            else:  # the same sums by one operation, not as fast a one
                firsts = parts[:: 2 * step][:pairs]
                self.ops.accumulate(parts[step :: 2 * step][:pairs], firsts)
            step *= 2
        return parts[0]

    def _done(self, collective: object, given: Array, out: Array) -> None:
        assert callable(collective)
        if isinstance(given, np.ndarray):
            collective(given, out)
            return
        on_host = np.empty(out.shape, str(self.ops.dtype_name(out)))
        collective(np.ascontiguousarray(self.ops.to_host(given)), on_host)
        self.ops.copy_from_host(on_host, out)
