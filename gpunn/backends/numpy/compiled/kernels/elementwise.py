"""Dropout, rescaling and standardization."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn.backends.hashing import GOLDEN, MASK_32, MIX_1, MIX_2
from gpunn.backends.numpy.compiled.interface import INT8, INT16, UINT8, UINT16
from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, where
from gpunn.backends.numpy.compiled.kernels.blocks import (
    bits_of,
    block_of,
    block_size,
    counted_from,
    load,
    load_integers,
    multiply_add,
    store,
    where_at_least,
)
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, scalar, vector
from gpunn.backends.numpy.compiled.kernels.lanewise import lanewise
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers


@compiled
def mix(dtype: Any, bits: Any) -> Any:
    bits = bits ^ (bits >> bits_of(dtype, 16))
    bits = bits * bits_of(dtype, MIX_1)
    bits = bits ^ (bits >> bits_of(dtype, 15))
    bits = bits * bits_of(dtype, MIX_2)
    return bits ^ (bits >> bits_of(dtype, 16))


@kernel
def dropout(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, out, rows, columns, multiple, passes_ptr, layer_key, first, rate_ptr, threshold = integers(
        args, 0, 10
    )
    (factor,) = floats(args, 10, 1)
    if rate_ptr != 0:
        rate = scalar(dtype, rate_ptr)
        # Numbers from 2^52 on are integers, so the sum is rounded to the nearest integer.
        threshold = int(float(rate) * 2.0**32 + 2.0**52) - 2**52
        one = vector(dtype, rate_ptr, 1).dtype.type(1)
        factor = float(one / (one - rate))
    golden, limit = bits_of(dtype, GOLDEN), bits_of(dtype, threshold)
    # If the rate is so close to 1 that no element is kept, the threshold has 33 bits.
    scale, zero = block_of(dtype, 0 if threshold > MASK_32 else factor), block_of(dtype, 0)
    passes = bits_of(dtype, scalar(args, passes_ptr))
    key = mix(dtype, passes * golden ^ bits_of(dtype, layer_key))
    lanes = block_size(dtype)
    begin, end = partition(columns, multiple, thread, threads)
    for row in range(rows):
        for column in range(begin, end, lanes):
            at, left = row * columns + column, end - column
            bits = mix(dtype, counted_from(dtype, first + at) * golden ^ key)
            # A product keeps NaN and infinity, as on other backends.
            value = load(dtype, x, at, left) * where_at_least(bits, limit, scale, zero)
            store(value, out, at, left)


@kernel
def rescale(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, out, size, kind = integers(args, 0, 4)
    factor, term = floats(args, 4, 2)
    scale, offset = block_of(dtype, factor), block_of(dtype, term)
    lanes = block_size(dtype)
    begin, end = partition(size, lanes, thread, threads)
    for i in range(begin, end, lanes):
        left = end - i
        if kind == UINT8:
            value = load_integers(dtype, np.uint8, x, i, left)
        elif kind == INT8:
            value = load_integers(dtype, np.int8, x, i, left)
        elif kind == UINT16:
            value = load_integers(dtype, np.uint16, x, i, left)
        elif kind == INT16:
            value = load_integers(dtype, np.int16, x, i, left)
        else:
            value = load(dtype, x, i, left)
        store(multiply_add(value, scale, offset), out, i, left)


@kernel
def standardize(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, mean, std, out, rows, columns = integers(args, 0, 6)
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        start = row * columns
        for i in range(0, columns, lanes):
            left = columns - i
            centered = load(dtype, x, start + i, left) - load(dtype, mean, i, left)
            store(centered / load(dtype, std, i, left), out, start + i, left)


@lanewise
def clipped(value: Number, lower: Number, upper: Number) -> Number:
    return where(value < lower, lower, where(value > upper, upper, value))


@kernel
def unstandardize(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, mean, std, lower, upper, out, rows, columns = integers(args, 0, 8)
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        start = row * columns
        for i in range(0, columns, lanes):
            left = columns - i
            scale, offset = load(dtype, std, i, left), load(dtype, mean, i, left)
            value = multiply_add(load(dtype, x, start + i, left), scale, offset)
            if lower != 0:
                bounds = load(dtype, lower, i, left), load(dtype, upper, i, left)
                value = clipped(value, bounds[0], bounds[1])
            store(value, out, start + i, left)
