"""The processes (ranks) that train together; only rank 0 calls callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gpunn.distributed.agreement import Agreement
from gpunn.distributed.communicator import Communicator
from gpunn.distributed.shares import Shares
from gpunn.errors import ArgumentTypeError

CALLBACKS = "callbacks of rank 0"


class Ranks:
    """The processes that train together, and this process's shards of each batch."""

    def __init__(self, communicator: Communicator | None = None, shards: int = 0) -> None:
        if not isinstance(communicator, Communicator | None):
            raise ArgumentTypeError(
                "communicator: expected a result of gpunn.distributed.communicator, or None; "
                f"got {communicator!r:.80}"
            )
        self.communicator = communicator or Communicator()
        self.rank, self.size = self.communicator.rank, self.communicator.size
        self.first, self.alone = self.rank == 0, self.size == 1
        self.shares = Shares.of_rank(self.rank, self.size, shards)
        self.fixed_shards = shards > 0
        self.agreement = Agreement.over(self.communicator)
        self.leading = False
        """Whether this process is rank 0 and runs callbacks now."""

    def __reduce__(self) -> tuple[Callable[..., Ranks], tuple[None, int]]:
        # A copy is for a single process with the same number of shards.
        return Ranks, (None, self.shares.shards if self.fixed_shards else 0)

    @property
    def present_shares(self) -> Shares:
        """The shards of the process. While rank 0 runs callbacks, these are all shards."""
        return Shares(self.shares.shards, 0, self.shares.shards) if self.leading else self.shares

    def lead(
        self,
        function: Callable[[], None],
        services: Mapping[str, Callable[..., object]],
        result: Callable[[], Any],
    ) -> Any:
        # `services` are the functions that rank 0 can request by calling `join` with their names.
        # When the function has ended, all ranks return the `result` of rank 0.
        if self.first:
            self.leading = True
            try:
                function()
            finally:
                self.leading = False
            value = result()
            self.agreement.of_first(("", (value,)), CALLBACKS)
            return value
        while True:
            name, arguments = self.agreement.of_first(None, CALLBACKS)
            if not name:
                return arguments[0]
            services[name](*arguments)

    def join(self, name: str, *arguments: Any) -> None:
        # A collective call follows. If rank 0 does not lead (see `lead`), all ranks make this call
        # without `join`, because they run the same code.
        if self.leading:
            self.agreement.of_first((name, arguments), CALLBACKS)

    def gather(self, value: Any, what: str) -> list[Any]:
        return self.agreement.gather(value, what)

    def gather_rows(self, rows: np.ndarray, what: str) -> np.ndarray:
        return rows if self.alone else np.concatenate(self.gather(rows, what))
