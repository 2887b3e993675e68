"""A lock that lets only one thread at a time train or evaluate a network."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gpunn.errors import ConcurrentUseError
from gpunn.forks import renewed_in_children


class Exclusion:
    """A reentrant lock, so that only one thread at a time trains or evaluates a network.

    Other threads wait until an evaluation ends. During training, which may take hours, other
    threads get an error. In the training thread, a callback may evaluate the network.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._thread: int | None = None
        self._depth = 0
        self._training = False
        renewed_in_children(self)

    def renew(self) -> None:
        self._changed = threading.Condition()
        if self._thread != threading.get_ident():
            self._thread, self._depth, self._training = None, 0, False

    @property
    def training(self) -> bool:
        return self._training

    def move(self) -> None:
        """Let this thread continue the training that another thread has paused."""
        with self._changed:
            if self._training:
                self._thread = threading.get_ident()

    @contextmanager
    def held(self, what: str, *, training: bool) -> Iterator[None]:
        # Other threads get an error during training, and wait otherwise.
        thread = threading.get_ident()
        with self._changed:
            while self._thread not in (None, thread):
                if self._training:
                    raise ConcurrentUseError(
                        f"{what}: another thread is training this network. Wait until its fit "
                        "has returned, or use a copy of the trainer (copy.deepcopy) or of the "
                        "network. Only predict can be called during training"
                    )
                self._changed.wait()
            trained, self._training = self._training, self._training or training
            self._thread = thread
            self._depth += 1
        try:
            yield
        finally:
            with self._changed:
                self._training = trained
                self._depth -= 1
                if not self._depth:
                    self._thread = None
                    self._changed.notify_all()
