"""The worker processes that build object files."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Collection
from pathlib import Path

from gpunn.backends.numpy.compiled.building.objects import parts


def work(folder: str, only: Collection[str], workers: int) -> None:
    """Build object files in this process and in `workers` - 1 forks of this process.

    This process has already imported numba, so the forks need not import numba.
    """
    gc.disable()  # numba's objects stay in use until the end
    functions = parts(only)
    forks = list[int]()
    for _ in range(workers - 1):
        fork = os.fork()
        if not fork:
            forks.clear()
            break
        forks.append(fork)
    for name, make in functions.items():
        path = Path(folder, f"{name}.o")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        path.write_bytes(make())
        os.write(1, f"{len(functions)}\n".encode())  # in one call, since other processes also write
    for fork in forks:
        if status := os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]):
            sys.exit(f"a worker ended with exit status {status}")
