"""The communicator of processes that each use one CUDA device, and exchange arrays by NCCL."""

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

LOG = logging.getLogger("gpunn")

PATIENCE = 3.0
"""Maximum seconds to wait until NCCL has aborted its calls. Then all processes are stopped."""

# With "0" in this variable of NCCL, ranks capture NCCL's calls independently, so no rank waits if a
# capture fails on another rank. Otherwise, ranks exchange addresses during a capture.
NO_REGISTRATION = "NCCL_GRAPH_REGISTER"


class NCCLCommunicator(Communicator):
    """Exchanges arrays of CUDA devices by NCCL, and everything else by the communicator `host`.

    If NCCL can't be used and is not `required`, each exchange copies arrays through the host.
    """

    def __init__(self, host: Communicator, required: bool = True) -> None:
        super().__init__(host.rank, host.size, host.local_rank, host.local_size)
        self.host, self.required, self.name = host, required, host.name
        self._calls: Any = None
        self._device: int | None = None
        self._unavailable = False
        self._aborting: threading.Thread | None = None

    def supports(self, backend: Backend, gather: Gather) -> bool:
        # The first call starts NCCL. If NCCL is required but a rank lacks it, all ranks fail.
        if not backend.name.startswith("cupy"):
            return self.host.supports(backend, gather)
        if self._calls is None and not self._unavailable:
            self._begin(backend, gather)
        if self._calls is not None and self._device != backend.device.id:
            raise DistributedError(
                f"communicator: NCCL uses cupy:{self._device} in this process, but this training "
                f"run uses {backend.name}. Use one device per process"
            )
        return self._calls is not None

    def _begin(self, backend: Backend, gather: Gather) -> None:
        problem, nccl = "", None
        try:
            nccl = library()
        except MissingPackageError as error:
            problem = str(error)
        first = nccl.get_unique_id() if nccl and self.rank == 0 else None
        gathered = gather((problem, place_of(backend), first), "the check for NCCL")
        problem = next(
            (f"rank {rank}: {each}" for rank, (each, *_) in enumerate(gathered) if each), ""
        )
        if problem and self.required:
            raise MissingPackageError(problem)
        devices = [device for _, device, _ in gathered]
        shared = next((device for device in devices if devices.count(device) > 1), None)
        if shared and not problem:
            ranks = [rank for rank, device in enumerate(devices) if device == shared]
            problem = (
                f"communicator: ranks {ranks[0]} and {ranks[1]} compute on the same CUDA device "
                f"({' '.join(shared)}), but NCCL needs one device per rank. Start one process per "
                'device, with the backend "cupy", or "cupy:N", where N is the local number of the '
                "process"
            )
            if self.required:
                raise DistributedError(problem, elsewhere=self.rank > 0)
        if problem:
            self._unavailable = True
            if self.rank == 0:
                LOG.warning(
                    "gpunn: without NCCL, gradients are exchanged through the host. %s", problem
                )
            return
        self._connect(nccl, backend, gathered[0][2], gather)

    def _connect(self, nccl: Any, backend: Backend, identity: Any, gather: Gather) -> None:
        os.environ.setdefault(NO_REGISTRATION, "0")
        failed = ""
        try:
            backend.device.use()
            communicator = nccl.NcclCommunicator(self.size, identity, self.rank)
            calls = Calls(nccl, communicator, self.size, backend.device)
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
        for rank, each in enumerate(gather(failed, "the start of NCCL")):
            if each:
                raise DistributedError(
                    f"communicator: NCCL did not start on rank {rank}: {each}. Set the environment "
                    "variable NCCL_DEBUG=WARN to print the reason",
                    rank,
                    elsewhere=self.rank > 0,
                )
        self._calls, self._device, self.name = calls, backend.device.id, "nccl"
        self.overlaps = True
        atexit.register(self.close)

    def close(self) -> None:
        # All ranks must call this method, at the end. Ranks on one machine wait for each other
        # without a time limit, because another rank may still evaluate the network.
        atexit.unregister(self.close)
        calls, self._calls = self._calls, None
        self._destroy_graphs()
        if calls is not None:
            calls.communicator.destroy()

    def trouble(self) -> str:
        calls = self._calls
        error = "" if calls is None else calls.trouble()
        return error if self._calls is calls else ""  # ignore a communicator that was closed

    def abort(self) -> NoReturn:
        """Abort NCCL's calls, and end all processes after at most `PATIENCE` seconds."""
        calls, self._calls = self._calls, None
        if calls is not None:
            self._aborting = threading.Thread(
                target=self._abort, args=(calls,), name="gpunn-abort", daemon=True
            )
            self._aborting.start()
        if self._aborting is not None:  # this thread or another one aborts
            self._aborting.join(PATIENCE)
        self.host.abort()

    def _abort(self, calls: Calls) -> None:
        with suppress(Exception):
            calls.device.use()
            # NCCL waits for graphs with its calls. CuPy releases the GIL during the wait.
            self._destroy_graphs()
            calls.communicator.abort()

    def _destroy_graphs(self) -> None:
        for graph in list(self.graphs):
            graph.destroy()

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
