"""What ranks tell each other between steps, so that an error of one ends all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpunn.distributed.communicator import Communicator
from gpunn.distributed.watchdog import Watchdog
from gpunn.errors import DistributedError

__all__ = ["AgreedExit", "Agreement"]


class AgreedExit(SystemExit):
    """The end of the program on all ranks, which know of it."""


class Agreement:
    """Messages between all ranks, each of which may be that a rank has failed.

    A rank that fails outside of a step says so in the place of its next message, whatever that
    would have been. So no rank waits for a message of one that has failed. Within a step the others
    wait for numbers, not for a message; then the one that fails ends all.
    """

    def __init__(self, communicator: Communicator) -> None:
        self.communicator = communicator
        self.rank, self.size = communicator.rank, communicator.size
        self.watchdog = Watchdog(
            communicator.timeout, communicator.abort, communicator.rank, communicator.trouble
        )
        self._in_step = self._ended = self._inside = False
        if not self.alone:
            self.watchdog.start()

    @classmethod
    def over(cls, communicator: Communicator) -> Agreement:
        """Return the one that belongs to a communicator."""
        if communicator.agreement is None:
            communicator.agreement = cls(communicator)
        found: Agreement = communicator.agreement
        return found

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.size == 1

    @property
    def ended(self) -> bool:
        """Whether a rank has failed, after which the ranks tell each other nothing more."""
        return self._ended

    def gather(self, value: Any, what: str) -> list[Any]:
        """Return what each rank gives, by rank.

        A message says `what` it is if the others do not answer. Raise a DistributedError if a rank
        has failed; it names the rank and why.
        """
        if self.alone:
            return [value]
        if self._ended:
            raise DistributedError(f"{what}: a rank has failed, and the others do not answer")
        with self.watchdog.waiting(what):
            found = self.communicator.gather((None, what, value))
        self._check(found)
        different = {kind for _, kind, _ in found}
        if len(different) > 1:
            self._ended = True
            raise DistributedError(
                f"the ranks are at different places: {', '.join(sorted(different))}. Each has to "
                "make the same calls in the same order",
                elsewhere=self.rank > 0,
            )
        return [value for _, _, value in found]

    def _check(self, found: list[Any]) -> None:
        failed = [(rank, reason) for rank, (reason, *_) in enumerate(found) if reason is not None]
        if failed:
            self._ended = True
            rank, reason = failed[0]
            raise DistributedError(f"rank {rank} has failed: {reason}", rank)

    def of_first(self, value: Any, what: str) -> Any:
        """Return what rank 0 gives."""
        return self.gather(value if self.rank == 0 else None, what)[0]

    @contextmanager
    def step(self) -> Iterator[None]:
        """Note that the ranks exchange numbers in this context, and no messages."""
        if self.alone:
            yield
            return
        self._in_step = True
        with self.watchdog.waiting("an update"):
            yield
        self._in_step = False

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """Have all ranks fail where this one does, in this context.

        Once all have left the outermost of such contexts, they can begin anew.
        """
        outermost, self._inside = not self._inside, True
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            if outermost:
                self._inside = self._ended = False

    def fail(self, error: BaseException) -> None:
        """Tell the others, wherever they are, that this rank has failed."""
        if self.alone or self._ended or isinstance(error, DistributedError | AgreedExit):
            return
        self._ended = True
        if self._in_step or isinstance(error, SystemExit):  # which Python would not show
            import traceback

            traceback.print_exception(error)
        if self._in_step:
            self.communicator.abort()
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        with self.watchdog.waiting("the others, after an error"):
            found = self.communicator.gather((reason, "", None))
        # Where several fail at the same time, one of them speaks for all.
        first = next(rank for rank, (reason, *_) in enumerate(found) if reason is not None)
        if first != self.rank:
            raise DistributedError(f"rank {first} has failed: {found[first][0]}", first) from error
