"""Messages between ranks outside of training steps, so that an error on one rank ends all ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from gpunn.distributed.communicator import Communicator
from gpunn.distributed.watchdog import Watchdog
from gpunn.errors import DistributedError


class AgreedExit(SystemExit):
    """Raised on all ranks to end the program."""


class Agreement:
    """Exchanges messages between all ranks; instead of a message, a rank can report its failure.

    So no rank waits for a rank that has failed outside of a training step. A rank that
    fails within a step ends all processes.
    """

    def __init__(self, communicator: Communicator) -> None:
        self.communicator = communicator
        self.rank, self.size = communicator.rank, communicator.size
        self._in_step = self._inside = False
        self.ended = False
        """Whether a rank has failed. After a failure, the ranks exchange no more messages."""
        if not self.alone:
            self.watchdog.start()

    @classmethod
    def over(cls, communicator: Communicator) -> Agreement:
        if communicator.agreement is None:
            communicator.agreement = cls(communicator)
        agreement: Agreement = communicator.agreement
        return agreement

    @cached_property
    def watchdog(self) -> Watchdog:
        ranks = self.communicator
        return Watchdog(ranks.timeout, ranks.abort, ranks.rank, ranks.trouble)

    @property
    def alone(self) -> bool:
        return self.size == 1

    def gather(self, value: Any, what: str) -> list[Any]:
        if self.alone:
            return [value]
        if self.ended:
            raise DistributedError(
                f"{what}: the ranks exchange no more messages after an error; start all ranks again"
            )
        with self.watchdog.waiting(what):
            messages = self.communicator.gather((None, what, value))
        self._check(messages)
        different = {kind for _, kind, _ in messages}
        if len(different) > 1:
            self.ended = True
            raise DistributedError(
                f"the ranks exchange different values: {', '.join(sorted(different))}. Make the "
                "same calls in the same order on all ranks",
                elsewhere=self.rank > 0,
            )
        return [value for _, _, value in messages]

    def _check(self, messages: list[Any]) -> None:
        failed = [(rank, why) for rank, (why, *_) in enumerate(messages) if why is not None]
        if failed:
            self.ended = True
            rank, reason = failed[0]
            raise DistributedError(f"rank {rank} has failed: {reason}", rank)

    def of_first(self, value: Any, what: str) -> Any:
        return self.gather(value if self.rank == 0 else None, what)[0]

    @contextmanager
    def step(self) -> Iterator[None]:
        if self.alone:
            yield
            return
        self._in_step = True
        with self.watchdog.waiting("an update"):
            yield
        self._in_step = False

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        outermost, self._inside = not self._inside, True
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            if outermost:
                self._inside = self.ended = False

    def fail(self, error: BaseException) -> None:
        if self.alone or self.ended or isinstance(error, DistributedError | AgreedExit):
            return
        self.ended = True
        if self._in_step or isinstance(error, SystemExit):  # Python prints no SystemExit
            import traceback

            traceback.print_exception(error)
        if self._in_step:
            self.communicator.abort()
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        with self.watchdog.waiting("answers after an error"):
            messages = self.communicator.gather((reason, "", None))
        # If several ranks fail at the same time, all report the first one.
        first = next(rank for rank, (reason, *_) in enumerate(messages) if reason is not None)
        if first != self.rank:
            raise DistributedError(
                f"rank {first} has failed: {messages[first][0]}", first
            ) from error
