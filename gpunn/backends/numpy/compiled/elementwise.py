"""Dropout, rescaling and standardisation, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from gpunn.backends.hashing import GOLDEN, MIX_1, MIX_2
from gpunn.backends.numpy.compiled.kernel import (
    Kernel,
    compiled,
    integers,
    matrix,
    number,
    partition,
    slice_of,
    vector,
)
from gpunn.backends.numpy.compiled.pointers import pointer

__all__ = ["DROPOUT", "RESCALE", "RESCALE_BYTES", "STANDARDIZE"]

LANES = 16
"""Elements that a thread's part is a multiple of: a cache line in float32."""

FIRST, SECOND, SPREAD = np.uint32(MIX_1), np.uint32(MIX_2), np.uint32(GOLDEN)
EVERY = 0xFFFFFFFF
"""The largest number of 32 bits."""

SHORT, LONG = np.uint32(15), np.uint32(16)


@compiled
def mix(bits: Any) -> Any:
    """Apply the mixing function of `gpunn.backends.base` to 32 bits."""
    # numba computes with integers of 64 bits unless told otherwise at every step.
    bits = np.uint32(bits ^ (bits >> LONG))
    bits = np.uint32(bits * FIRST)
    bits = np.uint32(bits ^ (bits >> SHORT))
    bits = np.uint32(bits * SECOND)
    return np.uint32(bits ^ (bits >> LONG))


@Kernel
def DROPOUT(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """As `Backend.dropout`. Words: x, out, size, passes, key, threshold, bits of the scale."""
    w = integers(args)
    begin, end = partition(w[2], LANES, thread, threads)
    x, out = slice_of(dtype, w[0], w[2], begin, end), slice_of(dtype, w[1], w[2], begin, end)
    passes = np.uint32(carray(pointer(args, w[3]), 1)[0])
    key = mix(np.uint32(np.uint32(passes * SPREAD) ^ np.uint32(w[4])))
    zero = out.dtype.type(0)
    scale = out.dtype.type(number(w[6]))
    if w[5] > EVERY:  # the threshold has 33 bits: a rate just below 1 rounds to 2^32
        scale = zero
    threshold = np.uint32(w[5])
    first = np.uint32(begin)
    for i in range(end - begin):
        position = np.uint32(first + np.uint32(i))
        bits = mix(np.uint32(np.uint32(position * SPREAD) ^ key))
        # As a product, so that NaN and infinity show as they do elsewhere.
        out[i] = x[i] * (scale if bits >= threshold else zero)


@Kernel
def RESCALE(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = scale * x + offset. Words: x, out, size, bits of scale and offset."""
    w = integers(args)
    begin, end = partition(w[2], LANES, thread, threads)
    x, out = slice_of(dtype, w[0], w[2], begin, end), slice_of(dtype, w[1], w[2], begin, end)
    scale, offset = out.dtype.type(number(w[3])), out.dtype.type(number(w[4]))
    for i in range(end - begin):
        out[i] = x[i] * scale + offset


@Kernel
def RESCALE_BYTES(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = scale * x + offset, x being bytes. Words: as `RESCALE`."""
    w = integers(args)
    begin, end = partition(w[2], LANES, thread, threads)
    # By way of words, since a pointer here is one to words or to the network's numbers.
    x = carray(pointer(args, w[0]), (w[2] + 7) // 8).view(np.uint8)[begin:end]
    out = slice_of(dtype, w[1], w[2], begin, end)
    scale, offset = out.dtype.type(number(w[3])), out.dtype.type(number(w[4]))
    for i in range(end - begin):
        out[i] = out.dtype.type(x[i]) * scale + offset


@Kernel
def STANDARDIZE(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = (x - mean) / std. Words: x, mean, std, out, rows, columns."""
    w = integers(args)
    rows, columns = w[4], w[5]
    x, out = matrix(dtype, w[0], rows, columns), matrix(dtype, w[3], rows, columns)
    mean, std = vector(dtype, w[1], columns), vector(dtype, w[2], columns)
    begin, end = partition(rows, 1, thread, threads)
    for i in range(begin, end):
        for j in range(columns):
            out[i, j] = (x[i, j] - mean[j]) / std[j]
