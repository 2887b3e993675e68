"""Which process trains a trial, whether it is still there, and how many there are beside it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from gpunn.distributed import Communicator

__all__ = ["is_gone", "neighbours", "this_process"]

LAUNCHERS = (
    ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
)
"""In which variables launchers (of Open MPI, MPICH, Slurm) say which of how many processes on this
machine they have started this one as."""

COUNT = re.compile(r"([0-9]{1,6})(\(x[0-9]+\))?")
"""A number, which Slurm may say of several machines."""


def neighbours(environment: Mapping[str, str] = os.environ) -> Communicator:
    """Return which of the processes on this machine this one is, as a launcher says it.

    They have nothing to say to each other: but for that it is a world of one process.
    """
    for rank, size in LAUNCHERS:
        found = [COUNT.fullmatch(environment.get(name, "")) for name in (rank, size)]
        if found[0] and found[1]:
            return Communicator(local_rank=int(found[0][1]), local_size=int(found[1][1]))
    return Communicator()


def this_process() -> list[str | int]:
    """Return this process as JSON can hold it: the place where its number counts, and that."""
    return [_place(), os.getpid()]


def is_gone(process: object) -> bool:
    """Return whether a process has ended, as far as this one can tell.

    Only of those that could be seen from here. A new process that has got the number of an old one
    is taken for that.
    """
    if not (isinstance(process, list) and len(process) == 2 and process[0] == _place()):
        return False
    number = process[1]
    if os.name != "posix" or not isinstance(number, int) or number <= 0:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is somebody else's
        return False
    return False


def _place() -> str:
    """Return the machine's name and, where processes have several spaces of numbers, which."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{platform.node()} {space}".strip()
