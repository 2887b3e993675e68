"""How many threads compute: as asked for, or as the environment says, or one a core."""

from __future__ import annotations

import functools
import logging
import os
import re
from typing import Any

from gpunn.configurable import check_integer
from gpunn.errors import ArgumentError

__all__ = ["OPENMP", "VARIABLE", "check_threads", "threads_asked_for", "usable_cores"]

VARIABLE = "GPUNN_THREADS"
OPENMP = "OMP_NUM_THREADS"

logger = logging.getLogger("gpunn")


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def most_threads() -> int:
    """Return how many threads may be asked for: far more than cores would only wait."""
    return max(256, os.cpu_count() or 1)


def check_threads(name: str, threads: Any) -> int:
    """Return a number of threads; an error names the argument if it is impossible."""
    number = check_integer(name, threads)
    if number > most_threads():
        raise ArgumentError(
            f"{name}: expected a whole number from 1 to {most_threads()}; got {number}. More "
            f"threads than cores ({usable_cores()} for this process) only wait for one another"
        )
    return number


def threads_asked_for(threads: int | None) -> int | None:
    """Return how many threads an argument or a variable asks for; None if neither does.

    The argument comes first, then GPUNN_THREADS, then OMP_NUM_THREADS, which libraries set in their
    workers: of that no more than there are cores, and if it is a list, as of nested levels, the
    first of it. What it holds that isn't a number is ignored, with a warning, as OpenMP does; other
    impossible numbers are errors.
    """
    if threads is not None:
        return check_threads("threads", threads)
    own = os.environ.get(VARIABLE, "").strip()
    if own:
        return check_threads(VARIABLE, int(own) if re.fullmatch("[0-9]{1,9}", own) else own)
    openmp = os.environ.get(OPENMP, "").strip()
    if not openmp:
        return None
    first = openmp.partition(",")[0].strip()
    if re.fullmatch("[0-9]{1,9}", first) and int(first):
        return min(int(first), usable_cores())
    warn_once(openmp)
    return None


@functools.cache
def warn_once(value: str) -> None:
    """Say that a value of OpenMP's variable is ignored."""
    logger.warning("gpunn: %s is ignored: expected a whole number >= 1; got %r", OPENMP, value)
