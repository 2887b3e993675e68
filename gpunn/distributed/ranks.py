"""Several processes that train one network: who speaks, and what the others do meanwhile.

Callbacks belong to rank 0 alone, so files are written once, and a callback needs to know nothing of
other ranks. Where it asks for something that all ranks have a part of, such as the optimizer's
state, rank 0 asks the others to do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpunn.distributed.agreement import Agreement
from gpunn.distributed.communicator import Communicator
from gpunn.distributed.shares import Shares

__all__ = ["Ranks"]

CALLBACKS = "callbacks of rank 0"


class Ranks:
    """The processes of a training, and which shards of each batch this one has.

    Without a number of shards there is one for each process; `fixed_shards` tells whether one was
    given.
    """

    def __init__(self, communicator: Communicator | None = None, shards: int = 0) -> None:
        self.communicator = communicator or Communicator()
        self.rank, self.size = self.communicator.rank, self.communicator.size
        self.shares = Shares.of_rank(self.rank, self.size, shards)
        self.fixed_shards = shards > 0
        self.agreement = Agreement.over(self.communicator)
        self._leads = False

    def __reduce__(self) -> tuple[Callable[..., Ranks], tuple[None, int]]:
        """Return what a copy or a pickle is made from: one process, with the same shards."""
        return Ranks, (None, self.shares.shards if self.fixed_shards else 0)

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def leading(self) -> bool:
        """Whether rank 0 runs code that the others don't."""
        return self._leads

    @property
    def present_shares(self) -> Shares:
        """The shares of this process in what is done now: all, where it leads."""
        return Shares(self.shares.shards, 0, self.shares.shards) if self._leads else self.shares

    def lead(
        self,
        function: Callable[[], None],
        services: Mapping[str, Callable[..., object]],
        result: Callable[[], Any],
    ) -> Any:
        """Call a function on rank 0, while the others do what it asks them to by `join`.

        They can be asked for the services, by name. Return, on all ranks, what `result` returns on
        rank 0 in the end.
        """
        if self.first:
            self._leads = True
            try:
                function()
            finally:
                self._leads = False
            value = result()
            self.agreement.of_first(("", (value,)), CALLBACKS)
            return value
        while True:
            name, arguments = self.agreement.of_first(None, CALLBACKS)
            if not name:
                return arguments[0]
            services[name](*arguments)

    def join(self, name: str, *arguments: Any) -> None:
        """Have the other ranks begin the service of this name, if they wait for being asked.

        What follows is a collective call. Where rank 0 does not lead, all ranks are at this place.
        """
        if self._leads:
            self.agreement.of_first((name, arguments), CALLBACKS)

    def gather(self, value: Any, what: str) -> list[Any]:
        """Return what each rank gives; see `Agreement.gather`."""
        return self.agreement.gather(value, what)

    def gather_rows(self, rows: np.ndarray, what: str) -> np.ndarray:
        """Return the rows that all ranks give, in the order of ranks."""
        return rows if self.alone else np.concatenate(self.gather(rows, what))
