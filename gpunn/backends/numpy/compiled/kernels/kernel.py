"""Kernels: compiled functions with a common signature, which a program calls in order.

A kernel is a function `(dtype, args, thread, threads)`. `args` points to the arguments of the
instruction, each of 64 bits. `thread` is the number of the calling thread; `threads` threads run
the program. Each thread computes a slice of the result. The slice depends only on sizes, `thread`
and `threads`, so all runs are bitwise identical.

The same Python function is compiled for float32 and for float64. Only the type of the argument
`dtype` is used: pointer to float32 or to float64. For arrays of integers, functions get `args`, a
pointer to int64, instead of `dtype`.

`gpunn.backends.operations` describes the operations that have the names of kernels. Arrays are
contiguous and row-major; address 0 means no array. Sizes count elements; `..._bytes` and
`..._stride` count bytes. Floats are passed as float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import carray, types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.pipeline import KernelCompiler
from gpunn.backends.numpy.compiled.kernels.pointers import pointer

OPTIONS = {"error_model": "numpy"}
"""Division by zero follows IEEE 754. Without fast-math, all operations round as written."""

WITHOUT_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Omits numba's wrappers for calls from Python and C, which saves a sixth of the build's time."""


def compiled(function: Callable[..., Any], inline: bool = False) -> Any:
    # LLVM inlines small functions anyway.
    options = {"pipeline_class": KernelCompiler, **WITHOUT_WRAPPERS, **OPTIONS}
    return numba.njit(forceinline=inline, **options)(function)


KERNELS: dict[str, Any] = {}


def kernel(function: Callable[..., None]) -> Any:
    return registered(KERNELS, function)


ENTRIES: dict[str, Any] = {}
"""The functions that Python calls, by name. All their arguments and results are integers."""


def entry(function: Callable[..., Any]) -> Any:
    return registered(ENTRIES, function)


def registered(functions: dict[str, Any], function: Callable[..., Any]) -> Any:
    name = function.__name__
    assert name not in functions, f"there are two functions {name!r}"
    functions[name] = compiled(function)
    return functions[name]


@compiled
def vector(dtype: Any, address: int, size: int) -> Any:
    return carray(pointer(dtype, address), size)


@compiled
def scalar(dtype: Any, address: int) -> Any:
    return carray(pointer(dtype, address), 1)[0]


@compiled
def slice_of(dtype: Any, address: int, size: int, begin: int, end: int) -> Any:
    # LLVM vectorizes loops over a slice. In other loops, an index might be negative.
    return carray(pointer(dtype, address), size)[begin:end]


@compiled
def matrix(dtype: Any, address: int, rows: int, columns: int) -> Any:
    return carray(pointer(dtype, address), (rows, columns))


@intrinsic
def quotient(context: Any, a: Any, b: Any) -> Any:
    """Return a / b rounded down, for a >= 0 and b > 0, in fewer instructions than `//`."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.udiv(*arguments)

    return types.int64(types.int64, types.int64), generate


@compiled
def partition(size: int, multiple: int, thread: int, threads: int) -> tuple[int, int]:
    """Return (begin, end) of a thread's part of range(size), split at multiples of `multiple`."""
    blocks = quotient(size + multiple - 1, multiple)
    start = quotient(blocks * thread, threads) * multiple
    stop = quotient(blocks * (thread + 1), threads) * multiple
    return min(start, size), min(stop, size)


@compiled
def thread_part(
    rows: int, columns: int, multiple: int, thread: int, threads: int
) -> tuple[int, int, int, int]:
    """Return a thread's part of a matrix: begin and end of rows, begin and end of columns.

    If `multiple` is negative, threads divide the rows, otherwise the columns. Each part begins at
    a multiple of abs(multiple).
    """
    if multiple < 0:
        first, last = partition(rows, -multiple, thread, threads)
        return first, last, 0, columns
    left, right = partition(columns, multiple, thread, threads)
    return 0, rows, left, right
