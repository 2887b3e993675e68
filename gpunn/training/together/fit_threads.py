"""The threads of `train_together`, and the thread that waits for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from gpunn.training.interruption import Interruption
from gpunn.training.together.fit_job import FitJob
from gpunn.training.together.networks_bar import SECONDS, NetworksBar

__all__ = ["FitThreads"]


class FitThreads:
    """Threads that train jobs, as a context at whose end the threads end.

    `errors` contains the errors that end all jobs, in the order in which they were raised. With
    `keep`, these are only errors that end the program.
    """

    def __init__(self, threads: int, interruption: Interruption, keep: bool) -> None:
        self.errors: list[BaseException] = []
        self._interruption, self._keep = interruption, keep
        self._done: SimpleQueue[FitJob] = SimpleQueue()
        self._pool = ThreadPoolExecutor(threads, "gpunn-fits")

    def __enter__(self) -> FitThreads:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # such as a second Ctrl-C, which does not wait
            self._interruption.cancel("ended by an error")
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def train(self, jobs: list[FitJob], epochs: int | None, bar: NetworksBar) -> None:
        """Train jobs, the largest first, until they have this number of epochs or end."""
        for job in sorted(jobs, key=lambda job: job.size, reverse=True):
            self._pool.submit(self._train, job, epochs)
        missing = len(jobs)
        while missing:
            try:
                # With a timeout, since other waiting would delay signals on some systems.
                done = self._done.get(timeout=SECONDS)
            except Empty:
                bar.show()
            else:
                missing -= 1
                bar.count(done)

    def _train(self, job: FitJob, epochs: int | None) -> None:
        job.train(epochs)
        error = job.result.error
        if error is not None and not (self._keep and isinstance(error, Exception)):
            error.add_note(f"in fits[{job.index}] of train_together")
            self.errors.append(error)
            self._interruption.cancel(f"ended by an error in fits[{job.index}]")
        self._done.put(job)
