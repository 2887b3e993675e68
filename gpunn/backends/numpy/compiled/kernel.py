"""Kernels: compiled functions of one signature, which a program calls one after the other.

A kernel gets the words of its instruction (addresses, sizes, and numbers as their bits), its own
number among the threads that run the same program, and their count. It does its share of the work.
Which share that is depends on nothing else, so that results are the same on every run.

The same Python function is compiled for float32 and for float64: `dtype` is a pointer of the type
of the network's numbers, which serves for nothing but its type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import carray, types
from numba.core.ccallback import CFunc

from gpunn.backends.numpy.compiled.cache import KernelCache
from gpunn.backends.numpy.compiled.pointers import number_of_bits, pointer

__all__ = [
    "MAX_ARGS",
    "Kernel",
    "compiled",
    "integers",
    "matrix",
    "number",
    "partition",
    "slice_of",
    "vector",
]

MAX_ARGS = 36
"""Arguments of an instruction, at most."""

OPTIONS = {"error_model": "numpy", "nogil": True}
"""A division by zero gives what IEEE 754 says; no fast-math: all rounds as written."""


def compiled(function: Callable[..., Any]) -> Any:
    """Return the function compiled at its first call, and kept on disk where there is a place."""
    dispatcher = numba.njit(**OPTIONS)(function)
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
        """Return where the machine code for numbers of this type is."""
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


@compiled
def integers(args: Any) -> Any:
    """Return the instruction's words as an array of integers."""
    return carray(args, MAX_ARGS)


@compiled
def number(word: int) -> float:
    """Return the number whose bits the word holds."""
    return number_of_bits(word)


@compiled
def vector(dtype: Any, address: int, size: int) -> Any:
    """Return the array of the type of `dtype` at an address."""
    return carray(pointer(dtype, address), size)


@compiled
def slice_of(dtype: Any, address: int, size: int, begin: int, end: int) -> Any:
    """Return elements of the array at an address, from `begin` on and up to `end`.

    Loops over a part of its own become vector instructions: counting from 0, an index is known not
    to be negative, which in Python would count from the end.
    """
    return carray(pointer(dtype, address), size)[begin:end]


@compiled
def matrix(dtype: Any, address: int, rows: int, columns: int) -> Any:
    """Return the C-contiguous array of the type of `dtype` at an address."""
    return carray(pointer(dtype, address), (rows, columns))


@compiled
def partition(size: int, multiple: int, thread: int, threads: int) -> tuple[int, int]:
    """Return where a thread's part of `size` elements begins and ends.

    Partition begin at multiples of `multiple`, so that threads don't write to one cache line.
    """
    blocks = (size + multiple - 1) // multiple
    start = blocks * thread // threads * multiple
    stop = blocks * (thread + 1) // threads * multiple
    return min(start, size), min(stop, size)
