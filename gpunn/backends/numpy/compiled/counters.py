"""Bookkeeping: numbers that a step counts, sums, and which rows come next."""

from __future__ import annotations

from typing import Any

from numba import carray

from gpunn.backends.numpy.compiled.kernel import (
    Kernel,
    integers,
    number,
    partition,
    slice_of,
    vector,
)
from gpunn.backends.numpy.compiled.pointers import copy_bytes, pointer, prefetch

__all__ = [
    "ADD",
    "COUNT_PASS",
    "COUNT_UPDATE",
    "FILL",
    "GATHER",
    "SET_SUM",
]

LINE = 64
"""Bytes in a cache line."""

AHEAD = 4
"""Rows to ask for before they are needed: their places in a large data set are random."""


@Kernel
def GATHER(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out[i] = source[order[start + i]]. Words: source, order, start, out, rows, row bytes."""
    w = integers(args)
    source, out, rows, size = w[0], w[3], w[4], w[5]
    first = carray(pointer(args, w[2]), 1)[0]
    order = carray(pointer(args, w[1]), first + rows)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        if row + AHEAD < end:
            coming = source + order[first + row + AHEAD] * size
            for line in range(0, size, LINE):
                prefetch(coming + line)
        copy_bytes(out + row * size, source + order[first + row] * size, size)


@Kernel
def COUNT_PASS(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set start = start + rows; passes = passes + 1. Words: start, rows, passes."""
    if thread == 0:
        w = integers(args)
        carray(pointer(args, w[0]), 1)[0] += w[1]
        carray(pointer(args, w[2]), 1)[0] += 1


@Kernel
def COUNT_UPDATE(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """As `Backend.count_update`, whose arguments in their order are the words."""
    if thread == 0:
        w = integers(args)
        position, updates = carray(pointer(args, w[1]), 1), carray(pointer(args, w[3]), 1)
        vector(dtype, w[2], 1)[0] = vector(dtype, w[0], position[0] + 1)[position[0]]
        position[0] += 1
        updates[0] += 1
        vector(dtype, w[6], 1)[0] += vector(dtype, w[4], 1)[0]
        loss_sum = vector(dtype, w[5], 1)[0]
        if loss_sum - loss_sum == 0:
            vector(dtype, w[7], 1)[0] += 1


@Kernel
def FILL(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = value. Words: out, size, bits of value."""
    w = integers(args)
    begin, end = partition(w[1], LINE, thread, threads)
    out = slice_of(dtype, w[0], w[1], begin, end)
    value = out.dtype.type(number(w[2]))
    for i in range(end - begin):
        out[i] = value


@Kernel
def ADD(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = out + values. Words: values, out, size."""
    w = integers(args)
    begin, end = partition(w[2], LINE, thread, threads)
    values, out = slice_of(dtype, w[0], w[2], begin, end), slice_of(dtype, w[1], w[2], begin, end)
    for i in range(end - begin):
        out[i] += values[i]


@Kernel
def SET_SUM(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = sum of values. Words: values, size, out."""
    if thread == 0:
        w = integers(args)
        values, out = vector(dtype, w[0], w[1]), vector(dtype, w[2], 1)
        total = out.dtype.type(0)
        for i in range(w[1]):
            total += values[i]
        out[0] = total
