"""Calls that all ranks make together (collective calls), as operations of a training step."""

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

MAX_SINGLE_SUMS = 8
"""Maximum number of pairs of rows that are added in separate operations, which take time."""


class Collectives:
    """Exchanges a backend's arrays between ranks, through copies on the host if necessary."""

    def __init__(self, backend: Backend, agreement: Agreement) -> None:
        self.ops, self.communicator = backend, agreement.communicator
        self.rank, self.size = agreement.rank, agreement.size
        self._gather = agreement.gather
        with agreement.watchdog.waiting("the choice of a library that exchanges arrays"):
            self._direct = self.communicator.supports(backend, agreement.gather)

    def all_to_all(self, blocks: Array, out: Array) -> None:
        self._call(self.communicator.all_to_all, blocks, out)

    def all_gather(self, block: Array, out: Array) -> None:
        self._call(self.communicator.all_gather, block, out)

    @property
    def overlaps(self) -> bool:
        return self._direct and self.communicator.overlaps

    def exchange(self, sends: Sequence[Parcel], receives: Sequence[Parcel]) -> None:
        call = partial(self.communicator.exchange, sends, receives)
        self.ops.call(Collective(call, self._gather, self.communicator.graphs))

    def sum_over_ranks(self, values: Array, gathered: Array, out: Array) -> None:
        self.all_gather(values, gathered)
        self.ops.assign(gathered[0], out)
        for rank in range(1, self.size):
            self.ops.accumulate(gathered[rank], out)

    def sum_in_tree(self, parts: Array) -> Array:
        # Rows 2i and 2i + 1 are added first, then pairs of these sums, and so on. So the order of
        # additions depends only on the number of rows. If this number is a power of two, the result
        # is the sum of the first half, added in the same way, plus the sum of the second half.
        step, rows = 1, int(parts.shape[0])
        while step < rows:
            pairs = len(range(0, rows - step, 2 * step))
            if pairs <= MAX_SINGLE_SUMS:
                for first in range(0, rows - step, 2 * step):
                    self.ops.accumulate(parts[first + step], parts[first])
            else:  # the same sums in one slower operation
                firsts = parts[:: 2 * step][:pairs]
                self.ops.accumulate(parts[step :: 2 * step][:pairs], firsts)
            step *= 2
        return parts[0]

    def _call(self, collective: Callable[[Any, Any], None], value: Array, out: Array) -> None:
        value, out = actual(value), actual(out)
        if self._direct:
            call = partial(collective, value, out)
            self.ops.call(Collective(call, self._gather, self.communicator.graphs))
        else:
            self.ops.call(partial(self._call_on_host, collective, value, out))

    def _call_on_host(
        self, collective: Callable[[Any, Any], None], value: Array, out: Array
    ) -> None:
        on_host = np.empty(out.shape, str(self.ops.dtype_name(out)))
        collective(np.ascontiguousarray(self.ops.to_host(value)), on_host)
        self.ops.copy_from_host(on_host, out)
