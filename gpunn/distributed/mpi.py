"""Processes that MPI started, by mpi4py."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import numpy as np

from gpunn.backends import Backend
from gpunn.distributed.communicator import Communicator, Gather, on_host

__all__ = ["MPICommunicator"]


class MPICommunicator(Communicator):
    """The processes of an MPI communicator.

    Parameters
    ----------
    world : mpi4py.MPI.Intracomm
        A copy of it is made, so that messages of the program's own meet none of these.
    """

    name = "mpi"

    def __init__(self, world: Any) -> None:
        from mpi4py import MPI

        self._world = world.Dup()
        local = world.Split_type(MPI.COMM_TYPE_SHARED)
        super().__init__(world.Get_rank(), world.Get_size(), local.Get_rank(), local.Get_size())
        local.Free()
        self._in_place = MPI.IN_PLACE

    def takes(self, backend: Backend, gather: Gather) -> bool:
        return on_host(backend)

    def all_to_all(self, blocks: np.ndarray, out: np.ndarray) -> None:
        self._world.Alltoall(blocks, out)

    def all_gather(self, block: np.ndarray, out: np.ndarray) -> None:
        shared = np.shares_memory(block, out)
        self._world.Allgather(self._in_place if shared else block, out)

    def gather(self, message: Any) -> list[Any]:
        found: list[Any] = self._world.allgather(message)
        return found

    def abort(self) -> NoReturn:
        self._world.Abort(1)
        os._exit(1)  # where MPI can't end the others, at least this one ends
