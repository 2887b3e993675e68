"""NCCL between processes with a CUDA device each: when it begins, and how it ends."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from gpunn.backends import Backend
from gpunn.backends.cupy.nccl import Calls, library, place_of
from gpunn.distributed.communicator import Communicator, Gather, Parcel
from gpunn.errors import DistributedError, MissingPackageError
from gpunn.typing import Array

__all__ = ["NCCLCommunicator"]

LOG = logging.getLogger("gpunn")

PATIENCE = 3.0
"""Seconds that NCCL may take to abort, after which all processes end without it."""

NO_REGISTRATION = "NCCL_GRAPH_REGISTER"
"""Variable of NCCL. With "0" a rank captures its calls without the others, so that a capture that
fails on one rank leaves none waiting; else they would exchange the addresses of their arrays."""


class NCCLCommunicator(Communicator):
    """Exchanges arrays of CUDA devices by NCCL, and all else by another communicator, `host`.

    NCCL's calls go to the current CuPy stream, and can be captured. It begins when the first
    backend with CUDA arrays asks for it. If it is not `required` and can't be used, a warning is
    logged, and arrays of devices are copied to the host and back for each exchange.
    """

    def __init__(self, host: Communicator, required: bool = True) -> None:
        super().__init__(host.rank, host.size, host.local_rank, host.local_size)
        self.host, self.required, self.name = host, required, host.name
        self._calls: Any = None
        self._device: int | None = None
        self._given_up = False
        self._aborting: threading.Thread | None = None

    # ------------------------------------------------------------------------- begin and end

    def takes(self, backend: Backend, gather: Gather) -> bool:
        """Return whether the collective calls take arrays of this backend as they are.

        Raise an error on all ranks if NCCL is required and can't be used on one.
        """
        if not backend.name.startswith("cupy"):
            return self.host.takes(backend, gather)
        if self._calls is None and not self._given_up:
            self._begin(backend, gather)
        if self._calls is not None and self._device != backend.device.id:
            raise DistributedError(
                f"communicator: NCCL connects cupy:{self._device} of this process with the other "
                f"ranks, and this training is on {backend.name}. Give each process one device"
            )
        return self._calls is not None

    def _begin(self, backend: Backend, gather: Gather) -> None:
        problem, nccl = "", None
        try:
            nccl = library()
        except MissingPackageError as error:
            problem = str(error)
        first = nccl.get_unique_id() if nccl and self.rank == 0 else None
        found = gather((problem, place_of(backend), first), "whether NCCL is there")
        problem = next(
            (f"rank {rank}: {each}" for rank, (each, *_) in enumerate(found) if each), ""
        )
        if problem and self.required:
            raise MissingPackageError(problem)
        places = [place for _, place, _ in found]
        shared = next((each for each in places if places.count(each) > 1), None)
        if shared and not problem:
            ranks = [rank for rank, place in enumerate(places) if place == shared]
            problem = (
                f"communicator: ranks {ranks[0]} and {ranks[1]} compute on the same CUDA device "
                f"({' '.join(shared)}), and NCCL needs one for each. Start as many processes on a "
                'machine as it has devices, with the backend "cupy", or "cupy:N" with N the number '
                "of the process there"
            )
            if self.required:
                raise DistributedError(problem, elsewhere=self.rank > 0)
        if problem:
            self._given_up = True
            if self.rank == 0:
                LOG.warning("gpunn: gradients are exchanged by way of the host. %s", problem)
            return
        self._connect(nccl, backend, found[0][2], gather)

    def _connect(self, nccl: Any, backend: Backend, identity: Any, gather: Gather) -> None:
        os.environ.setdefault(NO_REGISTRATION, "0")
        failed = ""
        try:
            backend.device.use()
            communicator = nccl.NcclCommunicator(self.size, identity, self.rank)
            calls = Calls(nccl, communicator, self.size, backend.device)
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
        for rank, each in enumerate(gather(failed, "NCCL's beginning")):
            if each:
                raise DistributedError(
                    f"communicator: NCCL did not begin on rank {rank}: {each}. The environment "
                    "variable NCCL_DEBUG=WARN has it say why",
                    rank,
                    elsewhere=self.rank > 0,
                )
        self._calls, self._device, self.name = calls, backend.device.id, "nccl"
        self.overlaps = True
        atexit.register(self.close)

    def close(self) -> None:
        """Destroy the graphs with calls of NCCL, and then NCCL's communicator.

        All ranks have to do it, and those of a machine wait for each other, as long as it takes:
        one may still evaluate. It is done when the process ends.
        """
        atexit.unregister(self.close)
        calls, self._calls = self._calls, None
        self._destroy_graphs()
        if calls is not None:
            calls.communicator.destroy()

    def trouble(self) -> str:
        """Return the error that NCCL met after a call had returned; an empty string if none."""
        calls = self._calls
        found = "" if calls is None else calls.trouble()
        return found if self._calls is calls else ""  # none of a communicator that has gone

    def abort(self) -> NoReturn:
        """Abort NCCL's calls, for which this process may be waiting, and end all processes.

        NCCL waits until no graph has a call of the communicator, and CuPy releases Python's lock
        meanwhile. Whatever becomes of that, all processes end after `PATIENCE` seconds.
        """
        calls, self._calls = self._calls, None
        if calls is not None:
            self._aborting = threading.Thread(
                target=self._abort, args=(calls,), name="gpunn-abort", daemon=True
            )
            self._aborting.start()
        if self._aborting is not None:  # also if another thread began it
            self._aborting.join(PATIENCE)
        self.host.abort()

    def _abort(self, calls: Calls) -> None:
        with suppress(Exception):
            calls.use_device()
            self._destroy_graphs()
            calls.communicator.abort()

    def _destroy_graphs(self) -> None:
        for graph in list(self.graphs):
            graph.destroy()

    # ------------------------------------------------------------------------------ the calls

    def all_to_all(self, blocks: Array, out: Array) -> None:
        self._calls_for(blocks).all_to_all(blocks, out)

    def all_gather(self, block: Array, out: Array) -> None:
        self._calls_for(block).all_gather(block, out)

    def exchange(self, sends: Sequence[Parcel], receives: Sequence[Parcel]) -> None:
        self._open().exchange(sends, receives)

    def gather(self, message: Any) -> list[Any]:
        return self.host.gather(message)

    def _calls_for(self, array: Array) -> Communicator | Calls:
        return self.host if isinstance(array, np.ndarray) else self._open()

    def _open(self) -> Calls:
        if self._calls is None:
            raise DistributedError("communicator: NCCL's communicator was closed or aborted")
        calls: Calls = self._calls
        return calls
