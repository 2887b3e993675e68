"""The worker process that builds object files."""

from __future__ import annotations

import gc
import os
from collections.abc import Collection
from pathlib import Path

from gpunn.backends.numpy.compiled.building.objects import parts


def work(folder: str, only: Collection[str]) -> None:
    """Build files that no other worker builds. After each, print the total of all workers."""
    gc.disable()  # numba's objects stay in use until the end
    functions = parts(only)
    for name, make in functions.items():
        path = Path(folder, f"{name}.o")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        path.write_bytes(make())
        os.write(1, f"{len(functions)}\n".encode())  # in one call, since others also write there
