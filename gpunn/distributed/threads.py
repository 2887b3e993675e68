"""A communicator of threads of one process, so that tests and debuggers need no launcher."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import numpy as np

from gpunn.backends import Backend
from gpunn.backends.turns import TURNS
from gpunn.distributed.communicator import Communicator, Gather, on_host
from gpunn.errors import DistributedError

T = TypeVar("T")


class World:
    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)
        self.values: list[Any] = [None] * size


class ThreadCommunicator(Communicator):
    """The communicator of one of the threads that `run_threads` starts.

    Only one thread computes at a time, so this class helps to check results, but saves no time.

    Parameters
    ----------
    world : World
        The state that the threads share.
    rank : int
        Number of this thread, from 0.
    size : int
        Number of threads.

    See Also
    --------
    run_threads : Starts the threads, and calls a function in each thread.

    Examples
    --------
    >>> gpunn.distributed.run_threads(2, lambda communicator: communicator.gather("hello"))
    [['hello', 'hello'], ['hello', 'hello']]
    """

    name = "threads"

    def __init__(self, world: World, rank: int, size: int) -> None:
        super().__init__(rank, size, rank, size)
        self._world = world

    def supports(self, backend: Backend, gather: Gather) -> bool:
        return on_host(backend)

    def all_to_all(self, blocks: np.ndarray, out: np.ndarray) -> None:
        values = self._exchanged(blocks.copy())
        for rank, each in enumerate(values):
            out[rank] = each[self.rank]

    def all_gather(self, block: np.ndarray, out: np.ndarray) -> None:
        values = self._exchanged(block.copy())
        for rank, each in enumerate(values):
            out[rank] = each

    def gather(self, message: Any) -> list[Any]:
        return self._exchanged(message)

    def abort(self) -> NoReturn:
        self._world.barrier.abort()
        raise DistributedError("another rank has failed")

    def _exchanged(self, value: Any) -> list[Any]:
        world = self._world
        world.values[self.rank] = value
        with TURNS.handed_over():
            try:
                world.barrier.wait()
            except threading.BrokenBarrierError:
                raise DistributedError("another rank has failed") from None
            values = list(world.values)
            with suppress(threading.BrokenBarrierError):
                world.barrier.wait()  # no thread sets a new value before all have read these
        return values


def run_threads(size: int, function: Callable[[Communicator], T]) -> list[T]:
    """Call a function in `size` threads, each with its own communicator.

    Parameters
    ----------
    size : int
        Number of threads, at least 1.
    function : function
        A function of the communicator.

    Returns
    -------
    list
        The function's results, in order of rank.

    Raises
    ------
    Exception
        The error of the lowest failed rank; errors that only report another rank's failure are
        ignored.

    Examples
    --------
    >>> def train(communicator):
    ...     layer = gpunn.layers.Dense(1, bias=False, initializer="zeros")
    ...     model = gpunn.Sequential([layer], 1, backend="numpy")
    ...     optimizer = gpunn.optimizers.SGD(0.25)
    ...     trainer = gpunn.Trainer(
    ...         model, "mean_squared_error", optimizer, communicator=communicator
    ...     )
    ...     trainer.fit([[1.0], [1.0]], [1.0, 1.0], progress=False)
    ...     return layer.values["weights"].item()
    >>> gpunn.distributed.run_threads(2, train)
    [0.5, 0.5]
    """
    world = World(size)
    results: list[Any] = [None] * size
    errors: list[BaseException | None] = [None] * size

    def work(rank: int) -> None:
        try:
            results[rank] = function(ThreadCommunicator(world, rank, size))
        except BaseException as error:  # the caller raises it
            errors[rank] = error
            world.barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raised = [error for error in errors if error is not None]
    for error in sorted(raised, key=lambda error: isinstance(error, DistributedError)):
        raise error
    return results
