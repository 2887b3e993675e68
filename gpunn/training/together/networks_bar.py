"""The progress bar of many networks that train together."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gpunn.monitor import default_monitor
from gpunn.training.history import History
from gpunn.training.progress_bar import progress_bar
from gpunn.training.together.fit_job import FitJob

SECONDS = 0.1


class NetworksBar:
    def __init__(self, jobs: Sequence[FitJob], wanted: bool) -> None:
        self._bar = progress_bar("Networks", len(jobs), wanted, "networks")
        self._jobs, self._running = jobs, list(jobs)
        self._best: dict[str, float] = {}
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> NetworksBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown = 0.0
        self.show()
        self._bar.close()

    def show(self) -> None:
        now = time.monotonic()
        if now - self._shown < SECONDS:
            return
        self._shown = now
        ended = {job for job in self._running if job.ended}
        self._running = [job for job in self._running if job not in ended]
        for job in ended:
            self._compare(job.result.history)
        self._bar.update(len(ended))
        rate = sum(job.epochs for job in self._jobs) / (now - self._began)
        best = {f"best {name}": value for name, value in self._best.items()}
        self._bar.set_postfix({"epochs/s": rate, **best})

    def _compare(self, history: History) -> None:
        name = default_monitor(history)
        if name is not None:
            better = max if history.larger_is_better.get(name) else min
            best = better(history[name])
            self._best[name] = better(best, self._best.get(name, best))
