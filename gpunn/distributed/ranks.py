"""The processes of a training: rank 0 calls the callbacks, and the other ranks serve its requests.

Only rank 0 calls callbacks, so files are written once, and callbacks need not handle other ranks.
If a callback needs data that is divided among ranks, such as the optimizer's state, rank 0 asks the
other ranks to take part.
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
    """The processes of a training, and the shards of each batch that this process has.

    `shards` = 0 means one shard per process; `fixed_shards` is False then.
    """

    def __init__(self, communicator: Communicator | None = None, shards: int = 0) -> None:
        self.communicator = communicator or Communicator()
        self.rank, self.size = self.communicator.rank, self.communicator.size
        self.shares = Shares.of_rank(self.rank, self.size, shards)
        self.fixed_shards = shards > 0
        self.agreement = Agreement.over(self.communicator)
        self._leads = False

    def __reduce__(self) -> tuple[Callable[..., Ranks], tuple[None, int]]:
        """Return the parts of a copy or a pickle, which has one process with the same shards."""
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
        """Whether this is rank 0, and it runs code that the other ranks don't."""
        return self._leads

    @property
    def present_shares(self) -> Shares:
        """The current shares of this process: all shares while it leads."""
        return Shares(self.shares.shards, 0, self.shares.shards) if self._leads else self.shares

    def lead(
        self,
        function: Callable[[], None],
        services: Mapping[str, Callable[..., object]],
        result: Callable[[], Any],
    ) -> Any:
        """Call a function on rank 0, while the other ranks serve its calls of `join`.

        `services` are the functions that can be requested, by name. Then return the `result` of
        rank 0 on all ranks.
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
        """Start the service with this name on the other ranks, if rank 0 leads.

        A collective call follows. If rank 0 does not lead, all ranks make this call anyway.
        """
        if self._leads:
            self.agreement.of_first((name, arguments), CALLBACKS)

    def gather(self, value: Any, what: str) -> list[Any]:
        """Return the values of all ranks; see `Agreement.gather`."""
        return self.agreement.gather(value, what)

    def gather_rows(self, rows: np.ndarray, what: str) -> np.ndarray:
        """Return the rows of all ranks, in the order of ranks."""
        return rows if self.alone else np.concatenate(self.gather(rows, what))
