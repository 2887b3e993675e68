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
from numba import carray

from gpunn.backends.numpy.compiled.kernels.pointers import pointer

OPTIONS = {"error_model": "numpy"}
"""A division by zero gives what IEEE 754 says; no fast-math: all rounds as written. Nothing is made
for calls from Python."""


def compiled(function: Callable[..., Any], inline: bool = False) -> Any:
    """Return the function for numba to compile, which other compiled functions can call.

    LLVM inlines small functions by itself, and others where `inline` is set.
    """
    return numba.njit(forceinline=inline, **OPTIONS)(function)


KERNELS: dict[str, Any] = {}
"""All kernels, by name."""


def kernel(function: Callable[..., None]) -> Any:
    """Make a function a kernel, which instructions call by its name."""
    return registered(KERNELS, function)


ENTRIES: dict[str, Any] = {}
"""The functions that Python calls, by name: their arguments and results are integers."""


def entry(function: Callable[..., Any]) -> Any:
    """Make a function one that Python calls."""
    return registered(ENTRIES, function)


def registered(functions: dict[str, Any], function: Callable[..., Any]) -> Any:
    """Return the function for numba to compile, after it has been added to others by its name."""
    name = function.__name__
    assert name not in functions, f"there are two functions {name!r}"
    functions[name] = compiled(function)
    return functions[name]


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


@compiled
def own_part(
    rows: int, columns: int, multiple: int, thread: int, threads: int
) -> tuple[int, int, int, int]:
    """Return the rows and columns of a matrix that a thread does: first, last + 1, of each.

    Threads divide the rows if `multiple` is 0, else the columns, in multiples of it.
    """
    if multiple == 0:
        first, last = partition(rows, 1, thread, threads)
        return first, last, 0, columns
    left, right = partition(columns, multiple, thread, threads)
    return 0, rows, left, right
