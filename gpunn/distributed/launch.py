"""Which processes were started together, and what is wrong if they don't know of each other."""

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

__all__ = ["communicator", "launched", "local_device", "share_of_cores"]

LAUNCHERS = {
    "PMI_SIZE": "MPICH's or Slurm's launcher (PMI_SIZE)",
    "OMPI_COMM_WORLD_SIZE": "Open MPI's launcher (OMPI_COMM_WORLD_SIZE)",
    "SLURM_STEP_NUM_TASKS": "srun (SLURM_STEP_NUM_TASKS)",
}
"""Variables that launchers set to the number of processes they have started."""

GRACE = 3.0
"""Seconds for a rank that has failed to say so, before another one ends all."""


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Return how many processes a launcher has started, and which; 1 and nothing for none."""
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
        "auto" is MPI where a launcher such as `mpiexec` or `srun` has started several processes,
        and a world of one process otherwise; "none" is always the latter. Arrays of CUDA devices
        are exchanged by NCCL, with "auto" where it is there and with "nccl" always; with "mpi" they
        are copied to the host.
    timeout : float
        Seconds to wait for the other processes before all end; so for the start of MPI, if a
        process has ended before it.

    Returns
    -------
    Communicator
        With `timeout` set.

    Raises
    ------
    MissingPackageError
        If mpi4py is needed and not installed.
    DistributedError
        If a launcher has started several processes and MPI knows of another number: mpi4py was
        built for another MPI than the launcher's.

    Examples
    --------
    >>> import gpunn
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
            f"communicator: {cause}mpi4py is not installed, without which each would train by "
            f"itself. Install it: {install_command('mpi')}"
        )
    from gpunn.distributed.mpi import started_mpi

    several = f", of the {expected} that {launcher} has started," if launcher else ""
    MPI = started_mpi(
        timeout, f"start of MPI; a process{several} that ends before it keeps the others waiting"
    )
    world = MPI.COMM_WORLD
    if world.Get_size() != expected and launcher:
        library = MPI.Get_library_version().splitlines()[0].strip()
        raise DistributedError(
            f"communicator: {launcher} has started {expected} processes, but mpi4py's MPI knows of "
            f"{world.Get_size()}. mpi4py uses {library!r}; start the processes with the launcher "
            "of that MPI, or install mpi4py for the launcher's"
        )
    found: Communicator = of_all_processes()
    if name != "mpi":
        from gpunn.distributed.nccl import NCCLCommunicator

        found = NCCLCommunicator(found, required=name == "nccl")
    found.timeout = timeout
    share_of_cores(found.local_size)
    if found.size > 1:
        end_together(found)
    if found.rank:
        # Of what all ranks have to say, rank 0 says it.
        logging.getLogger("gpunn").setLevel(logging.ERROR)
        warnings.simplefilter("ignore", GpunnWarning)
    return found


@functools.cache
def of_all_processes() -> Communicator:
    """Return the communicator of MPI's world, the same each time: its messages have one order."""
    from mpi4py import MPI

    from gpunn.distributed.mpi import MPICommunicator

    return MPICommunicator(MPI.COMM_WORLD)


def end_together(found: Communicator) -> None:
    """Have an error that nobody catches end all processes, and not leave the others waiting."""
    before = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        elsewhere = isinstance(error, DistributedError) and error.elsewhere
        if not elsewhere:
            before(kind, error, traceback)
        write_last_words()
        if elsewhere:  # that rank is about to say it, and then to end this one
            time.sleep(GRACE)
        found.abort()

    sys.excepthook = hook


def share_of_cores(processes: int) -> None:
    """Have this process compute with its share of the machine's cores, unless it is said how many.

    Cores that a launcher has given this process alone are all its own.
    """
    if processes > 1 and not os.environ.get(VARIABLE) and not os.environ.get(OPENMP):
        cores, all_cores = usable_cores(), os.cpu_count() or 1
        if cores == all_cores:
            os.environ[VARIABLE] = str(max(1, cores // processes))


def local_device(backend: str, found: Communicator) -> str:
    """Return the name of the backend of one of several processes on a machine.

    "cupy" is the device with the number of the process there, or the only one that the launcher
    lets it see. Where there is none, the name stays, and the choice of a backend says what is
    missing.
    """
    if backend not in ("cupy", "auto"):
        return backend
    devices = len(available_backends()) - 1  # beside "numpy"
    if not devices:
        return backend
    return f"cupy:{found.local_rank}" if devices > 1 else "cupy"
