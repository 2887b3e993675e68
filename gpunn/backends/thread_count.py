"""The number of threads: from an argument, an environment variable, or the number of cores."""

import functools
import logging
import math
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpunn.configurable import check_integer
from gpunn.errors import ArgumentError

VARIABLE = "GPUNN_THREADS"
OPENMP = "OMP_NUM_THREADS"

logger = logging.getLogger("gpunn")


def usable_cores() -> int:
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def default_threads() -> int:
    """Return the default number of threads: the number of usable cores."""
    return usable_cores()


def max_threads() -> int:
    return max(256, os.cpu_count() or 1)


def check_threads(name: str, threads: Any) -> int:
    number = check_integer(name, threads, at_most=math.inf)
    if number > max_threads():
        raise ArgumentError(
            f"{name}: expected an integer from 1 to {max_threads()}; got {number}. More threads "
            f"than usable cores ({usable_cores()}) would mostly wait"
        )
    return number


def requested_threads(threads: int | None) -> int | None:
    # The sources, in order of priority, are the argument, GPUNN_THREADS, and OMP_NUM_THREADS, which
    # some libraries set in their worker processes. OMP_NUM_THREADS is limited to the number of
    # cores. If OMP_NUM_THREADS is a list for nested levels, its first number is used. An invalid
    # OMP_NUM_THREADS is ignored with a warning, as in OpenMP; other invalid numbers raise an error.
    if threads is not None:
        return check_threads("threads", threads)
    value = os.environ.get(VARIABLE, "").strip()
    if value:
        return check_threads(VARIABLE, int(value) if re.fullmatch("[0-9]{1,9}", value) else value)
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
    logger.warning("gpunn: %s is ignored: expected an integer >= 1; got %r", OPENMP, value)


class Alone(threading.local):
    depth = 0


ALONE = Alone()


@contextmanager
def one_thread() -> Iterator[None]:
    """In the context, CPU backends don't distribute this thread's computations to other threads."""
    ALONE.depth += 1
    try:
        yield
    finally:
        ALONE.depth -= 1


def is_alone() -> bool:
    return ALONE.depth > 0
