"""Connect the processes that a launcher started together, or explain why that fails."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import sys
import time
import warnings
from collections.abc import Mapping
from types import TracebackType

from gpunn.backends.selection import available_backends
from gpunn.backends.thread_count import OPENMP, VARIABLE, usable_cores
from gpunn.configurable import check_choice, check_number
from gpunn.distributed.communicator import TIMEOUT, Communicator
from gpunn.errors import DistributedError, GpunnWarning, MissingPackageError
from gpunn.optional import install_command
from gpunn.terminal import write_last_words

LAUNCHERS = {
    "PMI_SIZE": "MPICH's or Slurm's launcher (PMI_SIZE)",
    "OMPI_COMM_WORLD_SIZE": "Open MPI's launcher (OMPI_COMM_WORLD_SIZE)",
    "SLURM_STEP_NUM_TASKS": "srun (SLURM_STEP_NUM_TASKS)",
}

GRACE = 3.0


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, str]:
    for name, launcher in LAUNCHERS.items():
        value = environment.get(name, "").strip()
        if value.isdecimal() and int(value) > 1:
            return int(value), launcher
    return 1, ""


def communicator(name: str = "auto", timeout: float = TIMEOUT) -> Communicator:
    """Return the communicator of the processes that were started together.

    Parameters
    ----------
    name : {"auto", "none", "mpi", "nccl"}
        With "auto", MPI is used if a launcher such as `mpiexec` or `srun` has started several
        processes; otherwise this process trains alone. With "none", this process always trains
        alone. With "nccl", MPI is used, and NCCL exchanges the arrays of CUDA devices. "auto" also
        uses NCCL if it is available. With "mpi", arrays of CUDA devices are copied to the host.
    timeout : float
        Seconds to wait for the other processes. After this time, all processes are stopped. The
        limit also applies to the start of MPI.

    Returns
    -------
    Communicator
        The communicator, with the given `timeout`.

    Raises
    ------
    MissingPackageError
        If mpi4py is needed but not installed.
    DistributedError
        If MPI and the launcher have different numbers of processes because mpi4py was built for
        another MPI.

    Examples
    --------
    >>> gpunn.distributed.communicator("none")
    <gpunn communicator 'none', rank 0 of 1>
    """
    check_choice("communicator", name, ("auto", "none", "mpi", "nccl"))
    timeout = check_number("timeout", timeout, above=0)
    expected, launcher = launched()
    if name == "none" or (name == "auto" and expected == 1):
        return Communicator()
    if importlib.util.find_spec("mpi4py") is None:
        cause = f"{launcher} has started {expected} processes, and " if launcher else ""
        raise MissingPackageError(
            f"communicator: {cause}mpi4py is not installed, so each process would train alone. "
            f"Install it: {install_command('mpi')}"
        )
    from gpunn.distributed.mpi import started_mpi

    one = f"one of the {expected} processes of {launcher}" if launcher else "a process"
    MPI = started_mpi(timeout, f"start of MPI; {one} may have ended before it")
    world = MPI.COMM_WORLD
    if world.Get_size() != expected and launcher:
        library = MPI.Get_library_version().splitlines()[0].strip()
        raise DistributedError(
            f"communicator: {launcher} has started {expected} processes, but mpi4py's MPI has "
            f"{world.Get_size()}. mpi4py uses {library!r}; start the processes with the launcher "
            "of that MPI, or install mpi4py for the launcher's MPI"
        )
    result: Communicator = of_all_processes()
    if name != "mpi":
        from gpunn.distributed.nccl import NCCLCommunicator

        result = NCCLCommunicator(result, required=name == "nccl")
    result.timeout = timeout
    limit_to_share_of_cores(result.local_size)
    if result.size > 1:
        end_together(result)
    if result.rank:
        # Only rank 0 prints warnings that all ranks have.
        logging.getLogger("gpunn").setLevel(logging.ERROR)
        warnings.simplefilter("ignore", GpunnWarning)
    return result


@functools.cache
def of_all_processes() -> Communicator:
    """Return the communicator of all MPI processes: the same object in each call."""
    from mpi4py import MPI

    from gpunn.distributed.mpi import MPICommunicator

    return MPICommunicator(MPI.COMM_WORLD)


def end_together(communicator: Communicator) -> None:
    """Make an uncaught error end all processes, so that no process waits for this process."""
    before = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        elsewhere = isinstance(error, DistributedError) and error.elsewhere
        if not elsewhere:
            before(kind, error, traceback)
        write_last_words()
        if elsewhere:  # the other rank prints the error and ends this rank
            time.sleep(GRACE)
        communicator.abort()

    sys.excepthook = hook


def limit_to_share_of_cores(processes: int) -> None:
    if processes > 1 and not os.environ.get(VARIABLE) and not os.environ.get(OPENMP):
        cores, all_cores = usable_cores(), os.cpu_count() or 1
        if cores == all_cores:
            os.environ[VARIABLE] = str(max(1, cores // processes))


def local_device(backend: str, communicator: Communicator) -> str:
    # Use a single visible device. Without a device, `get_backend` reports what is missing.
    if backend not in ("cupy", "auto"):
        return backend
    devices = len(available_backends()) - 1  # without "numpy"
    if not devices:
        return backend
    return f"cupy:{communicator.local_rank}" if devices > 1 else "cupy"
