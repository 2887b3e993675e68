"""The communicator of processes that MPI connects through mpi4py."""

import atexit
import ctypes
import os
from typing import Any, NoReturn

import numpy as np

from gpunn.backends import Backend
from gpunn.distributed.communicator import Communicator, Gather, on_host
from gpunn.distributed.watchdog import Watchdog

RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


class MPICommunicator(Communicator):
    name = "mpi"

    def __init__(self, world: Any) -> None:
        from mpi4py import MPI

        self._world = world.Dup()  # keeps messages separate from the program's
        local = world.Split_type(MPI.COMM_TYPE_SHARED)
        super().__init__(world.Get_rank(), world.Get_size(), local.Get_rank(), local.Get_size())
        local.Free()
        self._in_place = MPI.IN_PLACE

    def supports(self, backend: Backend, gather: Gather) -> bool:
        return on_host(backend)

    def all_to_all(self, blocks: np.ndarray, out: np.ndarray) -> None:
        self._world.Alltoall(blocks, out)

    def all_gather(self, block: np.ndarray, out: np.ndarray) -> None:
        shared = np.shares_memory(block, out)
        self._world.Allgather(self._in_place if shared else block, out)

    def gather(self, message: Any) -> list[Any]:
        messages: list[Any] = self._world.allgather(message)
        return messages

    def abort(self) -> NoReturn:
        self._world.Abort(1)
        os._exit(1)  # end at least this process, if MPI can't end the others


def started_mpi(timeout: float, what: str) -> Any:
    # MPI waits for all processes that the launcher has started. If a process ends before MPI has
    # started, some launchers do not notice its end, and the other processes would wait forever. So
    # after `timeout` seconds, this process prints that it has waited for `what`, and ends.
    import mpi4py

    mpi4py.rc.initialize = False
    from mpi4py import MPI

    if MPI.Is_initialized():
        return MPI
    rank = next((os.environ[name] for name in RANKS if name in os.environ), "0")
    watchdog = Watchdog(timeout, lambda: os._exit(1), int(rank) if rank.isdecimal() else 0)
    watchdog.start()
    try:
        with watchdog.waiting(what):
            initialize(MPI)
    finally:
        watchdog.stop()
    atexit.register(lambda: None if MPI.Is_finalized() else MPI.Finalize())
    return MPI


def initialize(MPI: Any) -> None:
    """Start MPI. If possible, release Python's lock (GIL), so that the watchdog thread can run."""
    try:
        start = ctypes.CDLL(MPI.__file__).MPI_Init_thread  # mpi4py would hold the lock
    except (AttributeError, OSError):  # if the library can't be loaded this way
        MPI.Init_thread()
        return
    start(None, None, int(MPI.THREAD_MULTIPLE), ctypes.byref(ctypes.c_int()))
