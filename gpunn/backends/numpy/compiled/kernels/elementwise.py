"""Dropout, rescaling and standardisation, element by element."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gpunn.backends.hashing import GOLDEN, MASK_32, MIX_1, MIX_2
from gpunn.backends.numpy.compiled.kernels.kernel import (
    compiled,
    kernel,
    matrix,
    partition,
    scalar,
    slice_of,
    vector,
)
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers

LANES = 16
"""Elements that a thread's slice is a multiple of: a cache line in float32."""

# numba computes with integers of 64 bits unless told otherwise at every step.
FACTOR_1, FACTOR_2, SPREAD = np.uint32(MIX_1), np.uint32(MIX_2), np.uint32(GOLDEN)
SHIFT_15, SHIFT_16 = np.uint32(15), np.uint32(16)


@compiled
def mix(bits: Any) -> Any:
    """Return `gpunn.backends.hashing.mix` of 32 bits."""
    bits = np.uint32(bits ^ (bits >> SHIFT_16))
    bits = np.uint32(bits * FACTOR_1)
    bits = np.uint32(bits ^ (bits >> SHIFT_15))
    bits = np.uint32(bits * FACTOR_2)
    return np.uint32(bits ^ (bits >> SHIFT_16))


@kernel
def dropout(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """As `Backend.dropout`; each thread does a slice.

    Arguments: x_ptr (size,), out_ptr (size,), size, passes_ptr (1,) of int64, key, threshold (the
    rate times 2^32), scale (float).
    """
    x_ptr, out_ptr, size, passes_ptr, layer_key, threshold = integers(args, 0, 6)
    (factor,) = floats(args, 6, 1)
    begin, end = partition(size, LANES, thread, threads)
    x = slice_of(dtype, x_ptr, size, begin, end)
    out = slice_of(dtype, out_ptr, size, begin, end)
    passes = np.uint32(scalar(args, passes_ptr))
    key = mix(np.uint32(np.uint32(passes * SPREAD) ^ np.uint32(layer_key)))
    zero = out.dtype.type(0)
    scale = out.dtype.type(factor)
    if threshold > MASK_32:  # it has 33 bits: a rate just below 1 rounds to 2^32
        scale = zero
    least = np.uint32(threshold)
    first = np.uint32(begin)
    for i in range(end - begin):
        position = np.uint32(first + np.uint32(i))
        bits = mix(np.uint32(np.uint32(position * SPREAD) ^ key))
        # As a product, so that NaN and infinity show as they do elsewhere.
        out[i] = x[i] * (scale if bits >= least else zero)


@partial(compiled, inline=True)
def rescale_slice(x: Any, args: Any, out: Any) -> None:
    """Set out = scale * x + offset for slices, with the factors that both kernels below take."""
    factor, shift = floats(args, 3, 2)
    T = out.dtype.type
    scale, offset = T(factor), T(shift)
    for i in range(out.size):
        out[i] = T(x[i]) * scale + offset


@kernel
def rescale(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = scale * x + offset; each thread does a slice.

    Arguments: x_ptr (size,), out_ptr (size,), size, scale (float), offset (float).
    """
    x_ptr, out_ptr, size = integers(args, 0, 3)
    begin, end = partition(size, LANES, thread, threads)
    x = slice_of(dtype, x_ptr, size, begin, end)
    rescale_slice(x, args, slice_of(dtype, out_ptr, size, begin, end))


@kernel
def rescale_bytes(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Do the same as `rescale` for an x of uint8."""
    x_ptr, out_ptr, size = integers(args, 0, 3)
    begin, end = partition(size, LANES, thread, threads)
    # By way of int64, since there are pointers to that and to the network's type alone.
    x = vector(args, x_ptr, (size + 7) // 8).view(np.uint8)[begin:end]
    rescale_slice(x, args, slice_of(dtype, out_ptr, size, begin, end))


@kernel
def standardize(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = (x - mean) / std; each thread does some rows.

    Arguments: x_ptr (rows, columns), mean_ptr (columns,), std_ptr (columns,), out_ptr
    (rows, columns), rows, columns.
    """
    x_ptr, mean_ptr, std_ptr, out_ptr, rows, columns = integers(args, 0, 6)
    x, out = matrix(dtype, x_ptr, rows, columns), matrix(dtype, out_ptr, rows, columns)
    mean, std = vector(dtype, mean_ptr, columns), vector(dtype, std_ptr, columns)
    begin, end = partition(rows, 1, thread, threads)
    for i in range(begin, end):
        for j in range(columns):
            out[i, j] = (x[i, j] - mean[j]) / std[j]
