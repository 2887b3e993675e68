"""Identifies the processes of a sweep, and checks whether they still run."""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from gpunn.distributed import Communicator

LAUNCHERS = (
    ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
)

COUNT = re.compile(r"([0-9]{1,6})(\(x[0-9]+\))?")


def neighbors(environment: Mapping[str, str] = os.environ) -> Communicator:
    for rank, size in LAUNCHERS:
        matches = [COUNT.fullmatch(environment.get(name, "")) for name in (rank, size)]
        if matches[0] and matches[1]:
            return Communicator(local_rank=int(matches[0][1]), local_size=int(matches[1][1]))
    return Communicator()


def this_process() -> list[str | int]:
    return [_machine(), os.getpid()]


def is_gone(process: object) -> bool:
    """Return whether a process has certainly ended; False for processes on other machines."""
    if not (isinstance(process, list) and len(process) == 2 and process[0] == _machine()):
        return False
    number = process[1]
    if os.name != "posix" or not isinstance(number, int) or number <= 0:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it belongs to another user
        return False
    return False


def _machine() -> str:
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{platform.node()} {space}".strip()
