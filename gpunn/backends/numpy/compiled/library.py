"""The kernels' machine code."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from typing import Any

from gpunn.backends.numpy.compiled.interface import Vectors

__all__ = ["Library", "library"]


class Library:
    """Kernels by name, and the functions that run a team's threads."""

    vectors: Vectors

    def __init__(self) -> None:
        from numba import types

        from gpunn.backends.numpy.compiled import kernels
        from gpunn.backends.numpy.compiled.kernels.kernel import ENTRIES, KERNELS
        from gpunn.backends.numpy.compiled.kernels.vectors import VECTORS

        for module in pkgutil.iter_modules(kernels.__path__):
            importlib.import_module(f"{kernels.__name__}.{module.name}")
        self.vectors = VECTORS
        self._kernels = KERNELS
        # Compiled now: an interruption in the middle of a program would be too late.
        for name, function in ENTRIES.items():
            arguments = len(inspect.signature(function.py_func).parameters)
            function.compile((types.int64,) * arguments)
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def address(self, kernel: str, dtype: str) -> int:
        """Return where the code of a kernel for numbers of this type is."""
        return self._kernels[kernel].address(dtype)


@functools.cache
def library() -> Library:
    """Return this process's library."""
    return Library()
