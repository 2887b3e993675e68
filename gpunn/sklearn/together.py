"""Train the networks of scikit-learn's searches and ensembles in several threads."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.pool import ThreadPool

from joblib import parallel_config
from joblib.parallel import ParallelBackendBase, SequentialBackend, ThreadingBackend

from gpunn.backends.thread_count import check_threads, default_threads, one_thread
from gpunn.forks import renewed_in_children
from gpunn.sklearn.engine import reused_networks
from gpunn.training.interruption import stopped_by
from gpunn.training.sharing import sharing_programs


class WarningFilters:
    """Saves Python's warning filters before joblib calls, and restores them after the last call.

    All threads share the filters. When a task of scikit-learn ends, the task restores the filters
    that were set when it began. If tasks overlap, these may be the filters of another task.
    """

    def __init__(self) -> None:
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        self._lock, self._calls, self._filters = threading.Lock(), 0, ExitStack()

    def begin(self) -> None:
        with self._lock:
            self._calls += 1
            if self._calls == 1:
                self._filters.enter_context(warnings.catch_warnings())

    def end(self) -> None:
        with self._lock:
            self._calls -= 1
            if not self._calls:
                self._filters.close()


FILTERS = WarningFilters()


class Threads(ThreadingBackend):  # type: ignore[misc]
    """A joblib backend that keeps its threads for later calls, until `end` is called.

    After an error or Ctrl-C, all training in these threads ends.
    """

    _pool: ThreadPool | None = None

    def __init__(self) -> None:
        super().__init__()
        self._stop = threading.Event()
        self._size = 0

    def _get_pool(self) -> ThreadPool:
        if self._pool is None or self._size != self._n_jobs:
            self.end()
            self._size, self._stop = self._n_jobs, threading.Event()
            self._pool = ThreadPool(self._size, begin_thread, (self._stop,))
        return self._pool

    def get_nested_backend(self) -> tuple[ParallelBackendBase, None]:
        """Return a backend that runs nested tasks one by one, in the outer task's thread."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def start_call(self) -> None:
        FILTERS.begin()

    def stop_call(self) -> None:
        FILTERS.end()

    def terminate(self) -> None:
        """Do nothing, so that the next call reuses the threads and the networks they recorded."""

    def abort_everything(self, ensure_ready: bool = True) -> None:
        self._stop.set()
        self.end()

    def end(self) -> None:
        super().terminate()


class Contexts(threading.local):
    def __init__(self) -> None:
        self.stack = ExitStack()


CONTEXTS = Contexts()


def begin_thread(stop: threading.Event) -> None:
    for context in (one_thread(), reused_networks(), stopped_by(stop)):
        CONTEXTS.stack.enter_context(context)


@contextmanager
def together(threads: int | None = None) -> Iterator[None]:
    """Let scikit-learn's searches, ensembles and pipelines train several networks at a time.

    Within the context, scikit-learn's functions and classes with the parameter `n_jobs`, such as
    `GridSearchCV`, `cross_validate` and `BaggingClassifier`, use threads instead of processes, even
    with ``n_jobs=None``. Each thread trains whole networks, with one compute thread each.
    Parameters, losses and predictions are bitwise identical to the results of training each network
    alone with GPUNN_THREADS=1.

    Parameters
    ----------
    threads : int or None
        The number of threads; None means one thread for each core that this process may use. If
        scikit-learn's parameter `n_jobs` is set, it takes precedence.

    Yields
    ------
    None
        The context has no value.

    Raises
    ------
    ArgumentError
        If the number of threads is invalid.

    See Also
    --------
    install : Let gpunn train scikit-learn's own estimators.

    Notes
    -----
    On a CUDA device, the networks of different threads compute at the same time, on separate
    streams. This has not been tested on a GPU.

    Examples
    --------
    >>> import gpunn.sklearn
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> X = (X - X.mean(axis=0)) / X.std(axis=0)
    >>> classifier = gpunn.sklearn.MLPClassifier(
    ...     (8,), learning_rate_init=0.05, max_iter=300, tol=1e-3, random_state=0, backend="numpy"
    ... )
    >>> search = GridSearchCV(classifier, {"alpha": [0.01, 0.1]}, cv=3)
    >>> with gpunn.sklearn.together():
    ...     bool(search.fit(X, y).best_score_ > 0.9)
    True
    """
    count = default_threads() if threads is None else check_threads("threads", threads)
    backend = Threads()
    try:
        with (
            sharing_programs(),
            one_thread(),
            reused_networks(),
            parallel_config(backend, n_jobs=count),
        ):
            yield
    finally:
        backend.end()
