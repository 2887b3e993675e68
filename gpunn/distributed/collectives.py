"""Collective calls as operations of a step, on arrays of any backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gpunn.backends import Backend
from gpunn.backends.collective import Collective
from gpunn.backends.placeholder import actual
from gpunn.distributed.agreement import Agreement
from gpunn.distributed.communicator import Parcel
from gpunn.typing import Array

__all__ = ["Collectives"]

FEW = 8
"""Rows that are added up one by one; for more, a step would become long."""


class Collectives:
    """Lets the arrays of a backend take part in the collective calls of the ranks.

    Arrays that the communicator does not take are copied to the host and back, each time that a
    step gets to the call. All ranks have to make it at the same time.
    """

    def __init__(self, backend: Backend, agreement: Agreement) -> None:
        self.ops, self.communicator = backend, agreement.communicator
        self.rank, self.size = agreement.rank, agreement.size
        self._gather = agreement.gather
        with agreement.watchdog.waiting("what exchanges arrays"):
            self._as_they_are = self.communicator.takes(backend, agreement.gather)

    def all_to_all(self, blocks: Array, out: Array) -> None:
        """Set out[r] to what rank r has as blocks[this rank]."""
        self._call(self.communicator.all_to_all, blocks, out)

    def all_gather(self, block: Array, out: Array) -> None:
        """Set out[r] to the block of rank r."""
        self._call(self.communicator.all_gather, block, out)

    @property
    def overlaps(self) -> bool:
        """Whether there is `exchange`, and it may run beside computations."""
        return self._as_they_are and self.communicator.overlaps

    def exchange(self, sends: Sequence[Parcel], receives: Sequence[Parcel]) -> None:
        """Send arrays to ranks, and set others to what ranks send; see `Communicator.exchange`."""
        call = partial(self.communicator.exchange, sends, receives)
        self.ops.call(Collective(call, self._gather, self.communicator.graphs))

    def sum_over_ranks(self, values: Array, gathered: Array, out: Array) -> None:
        """Set out = the sum of all ranks' values, in the order of ranks.

        `gathered`, of shape (size, length), has room for the values of all.
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

    def _call(self, collective: Callable[[Any, Any], None], given: Array, out: Array) -> None:
        given, out = actual(given), actual(out)
        if self._as_they_are:
            call = partial(collective, given, out)
            self.ops.call(Collective(call, self._gather, self.communicator.graphs))
        else:
            self.ops.call(partial(self._by_way_of_the_host, collective, given, out))

    def _by_way_of_the_host(
        self, collective: Callable[[Any, Any], None], given: Array, out: Array
    ) -> None:
        on_host = np.empty(out.shape, str(self.ops.dtype_name(out)))
        collective(np.ascontiguousarray(self.ops.to_host(given)), on_host)
        self.ops.copy_from_host(on_host, out)
