"""Threads that train networks, and the thread that waits for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from gpunn.backends import Backend
from gpunn.backends.thread_count import VARIABLE, default_threads, requested_threads
from gpunn.training.interruption import Interruption

SECONDS = 0.1


class Threads:
    """Runs tasks in threads.

    If a task or the `with` block raises an error, this object calls `interruption.cancel`.
    """

    def __init__(
        self, threads: int, interruption: Interruption, show: Callable[[], None] = lambda: None
    ) -> None:
        self.errors: list[BaseException] = []
        self._interruption, self._show = interruption, show
        self._done: SimpleQueue[None] = SimpleQueue()
        self._pool = ThreadPoolExecutor(threads, "gpunn-together")

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # do not wait after an error, such as a second Ctrl-C
            self._interruption.cancel("ended by an error")
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        for task in tasks:
            self._pool.submit(self._run, task)
        missing = len(tasks)
        while missing:
            try:
                # Without a timeout, waiting would delay signals on some systems.
                self._done.get(timeout=SECONDS)
                missing -= 1
            except Empty:
                pass
            self._show()

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            self.errors.append(error)
            self._interruption.cancel("ended by the error of another network")
        self._done.put(None)


def number_of_threads(backends: Iterable[Backend], threads: int | None = None) -> int:
    # OMP_NUM_THREADS does not limit a device.
    defaults = {backend.parallel_fits for backend in backends}
    requested = requested_threads(threads)
    if 1 in defaults:
        return 1
    on_device = max((default for default in defaults if default), default=0)
    if on_device and threads is None and not os.environ.get(VARIABLE, "").strip():
        return on_device
    return requested or default_threads()
