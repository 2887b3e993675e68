"""One of the processes that make object files."""

from __future__ import annotations

import gc
import os
from collections.abc import Collection
from pathlib import Path

from gpunn.backends.numpy.compiled.building.objects import parts

__all__ = ["work"]


def work(folder: str, only: Collection[str]) -> None:
    """Make object files that no other process makes, and say so: a line for each, of the total."""
    gc.disable()  # what numba makes stays in use to the end
    functions = parts(only)
    for name, make in functions.items():
        path = Path(folder, f"{name}.o")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        path.write_bytes(make())
        os.write(1, f"{len(functions)}\n".encode())  # at once, since others write there, too
