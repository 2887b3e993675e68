"""Kernels: compiled functions of one signature, which a program calls one after the other.

A kernel gets the words of its instruction (addresses, sizes, and numbers as their bits), its own
number among the threads that run the same program, and their count. It does its share of the work.
Which share that is depends on nothing else, so that results are the same on every run.

The same Python function is compiled for float32 and for float64: `like` is a pointer of the type
of the network's numbers, which serves for nothing but its type.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import carray, types

from gpunn.backends.numpy.compiled.pointers import number_of_bits, pointer
from gpunn.files import write_atomically

__all__ = [
    "WORDS",
    "Kernel",
    "compiled",
    "forget_stale_code",
    "integers",
    "matrix",
    "number",
    "part",
    "share",
    "vector",
]

WORDS = 36
"""Arguments of an instruction, at most."""

OPTIONS = {"error_model": "numpy", "nogil": True}
"""A division by zero gives what IEEE 754 says; no fast-math: all rounds as written."""


def compiled(function: Callable[..., Any]) -> Any:
    """Return the function compiled at its first call, kept on disk where there is a place."""
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # neither this folder nor a cache folder can be written to
        return numba.njit(**OPTIONS)(function)


@functools.cache
def forget_stale_code() -> None:
    """Drop what was compiled from other sources.

    numba looks at the file of a function alone, not at those of what is compiled into it.
    """
    sources = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(source.read_bytes())
    try:
        # The same for all functions of this folder.
        folder = Path(share.stats.cache_path)
        stamp = folder / "gpunn-sources"
        if stamp.exists() and stamp.read_text() == sources.hexdigest():
            return
        for index in folder.glob("*.nbi"):
            index.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(stamp, sources.hexdigest().encode())
    except (OSError, TypeError, UnicodeDecodeError):
        return  # no cache, or none that can be written to


class Kernel:
    """A function `(like, words, thread, threads)`, compiled when its address is asked for.

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
        forget_stale_code()
        word = types.int64
        signature = types.void(types.CPointer(number), types.CPointer(word), word, word)
        try:
            return numba.cfunc(signature, cache=True, **OPTIONS)(self.function)
        except RuntimeError:
            return numba.cfunc(signature, **OPTIONS)(self.function)


@compiled
def integers(words: Any) -> Any:
    """Return the instruction's words as an array of integers."""
    return carray(words, WORDS)


@compiled
def number(word: int) -> float:
    """Return the number whose bits the word holds."""
    return number_of_bits(word)


@compiled
def vector(like: Any, address: int, size: int) -> Any:
    """Return the array of the type of `like` at an address."""
    return carray(pointer(like, address), size)


@compiled
def part(like: Any, address: int, size: int, begin: int, end: int) -> Any:
    """Return elements of the array at an address, from `begin` on and up to `end`.

    Loops over a part of its own become vector instructions: counting from 0, an index is known not
    to be negative, which in Python would count from the end.
    """
    return carray(pointer(like, address), size)[begin:end]


@compiled
def matrix(like: Any, address: int, rows: int, columns: int) -> Any:
    """Return the C-contiguous array of the type of `like` at an address."""
    return carray(pointer(like, address), (rows, columns))


@compiled
def share(size: int, multiple: int, thread: int, threads: int) -> tuple[int, int]:
    """Return where a thread's part of `size` elements begins and ends.

    Parts begin at multiples of `multiple`, so that threads don't write to one cache line.
    """
    blocks = (size + multiple - 1) // multiple
    start = blocks * thread // threads * multiple
    stop = blocks * (thread + 1) // threads * multiple
    return min(start, size), min(stop, size)
