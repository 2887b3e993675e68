"""Which process trains a trial, whether it is still there, and how many there are beside it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

__all__ = ["is_gone", "neighbours", "this_process"]

LOCAL_SIZES = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
"""In which variables launchers (of Open MPI, MPICH) say how many processes they started here."""


def neighbours(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many processes a launcher has started on this machine, this one included."""
    found = [environment.get(name, "") for name in LOCAL_SIZES]
    return max((int(size) for size in found if size.isdecimal() and len(size) < 7), default=1)


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
