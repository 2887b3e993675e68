"""Kernels: compiled functions of one signature, which a program calls one after the other.

A kernel is a function `(dtype, args, thread, threads)`. `args` points to the arguments of its
instruction, 64 bits each; `thread` is its number among the `threads` that run the same program.
Each thread does its own slice of the work. The slice depends on sizes and the two numbers alone, so
results are the same bits on every run.

The same Python function is compiled for float32 and for float64. `dtype` is a pointer to numbers of
that type, of which nothing but the type is used; `args`, a pointer to int64, serves in its place
for arrays of integers.

Conventions in the kernels' docstrings. "Arguments" are in order. `x_ptr (rows, columns)` is the
address of an array of the network's type, row-major and without gaps, unless something else is
said; address 0 stands for no array. Sizes count elements, `..._bytes` and `..._stride` bytes.
A float is passed as a float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import carray, types
from numba.core.ccallback import CFunc

from gpunn.backends.numpy.compiled.cache import KernelCache
from gpunn.backends.numpy.compiled.kernels.pointers import pointer

__all__ = [
    "ENTRIES",
    "KERNELS",
    "Kernel",
    "compiled",
    "entry",
    "kernel",
    "matrix",
    "partition",
    "scalar",
    "slice_of",
    "vector",
]

OPTIONS = {"error_model": "numpy", "nogil": True}
"""A division by zero gives what IEEE 754 says; no fast-math: all rounds as written."""


def compiled(function: Callable[..., Any], inline: bool = False) -> Any:
    """Return the function compiled at its first call, and kept on disk where there is a place.

    LLVM inlines small functions by itself, and others where `inline` is set.
    """
    dispatcher = numba.njit(forceinline=inline, **OPTIONS)(function)
    dispatcher._cache = KernelCache(function)
    return dispatcher


class Kernel:
    """A function `(dtype, args, thread, threads)`, compiled when its address is asked for.

    Parameters
    ----------
    function : callable
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self._compiled: dict[str, Any] = {}

    def address(self, dtype: str) -> int:
        """Return the address of the machine code for numbers of this type."""
        if dtype not in self._compiled:
            self._compiled[dtype] = self._compile(getattr(types, dtype))
        return int(self._compiled[dtype].address)

    def _compile(self, number: Any) -> Any:
        integer = types.int64
        signature = types.void(types.CPointer(number), types.CPointer(integer), integer, integer)
        # As numba.cfunc does, but for the cache.
        callback: Any = CFunc(self.function, (signature.args, signature.return_type), {}, OPTIONS)
        callback._cache = KernelCache(self.function)
        callback.compile()
        return callback


KERNELS: dict[str, Kernel] = {}
"""All kernels, by name."""


def kernel(function: Callable[..., None]) -> Kernel:
    """Make a function a kernel, which instructions call by its name."""
    name = function.__name__
    assert name not in KERNELS, f"there are two kernels {name!r}"
    KERNELS[name] = Kernel(function)
    return KERNELS[name]


ENTRIES: dict[str, Any] = {}
"""The functions that Python calls, by name: their arguments and results are integers."""


def entry(function: Callable[..., Any]) -> Any:
    """Make a function one that Python calls."""
    ENTRIES[function.__name__] = compiled(function)
    return ENTRIES[function.__name__]


@compiled
def vector(dtype: Any, address: int, size: int) -> Any:
    """Return the 1-D array at an address."""
    return carray(pointer(dtype, address), size)


@compiled
def scalar(dtype: Any, address: int) -> Any:
    """Return the number at an address."""
    return carray(pointer(dtype, address), 1)[0]


@compiled
def slice_of(dtype: Any, address: int, size: int, begin: int, end: int) -> Any:
    """Return elements `begin` to `end - 1` of the 1-D array at an address.

    Loops over a slice become vector instructions: counting from 0, an index is known not to be
    negative, which in Python would count from the end.
    """
    return carray(pointer(dtype, address), size)[begin:end]


@compiled
def matrix(dtype: Any, address: int, rows: int, columns: int) -> Any:
    """Return the row-major matrix at an address."""
    return carray(pointer(dtype, address), (rows, columns))


@compiled
def partition(size: int, multiple: int, thread: int, threads: int) -> tuple[int, int]:
    """Return where a thread's slice of `size` elements begins and ends.

    Slices begin at multiples of `multiple`, so that no two threads write to one cache line.
    """
    blocks = (size + multiple - 1) // multiple
    start = blocks * thread // threads * multiple
    stop = blocks * (thread + 1) // threads * multiple
    return min(start, size), min(stop, size)
