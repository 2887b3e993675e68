"""The coefficient of determination; `gpunn.metrics.regression` has the mathematics."""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    load,
    multiply_add,
    store,
)
from gpunn.backends.numpy.compiled.kernels.kernel import kernel, partition, scalar, vector
from gpunn.backends.numpy.compiled.kernels.pointers import integers


@kernel
def r2(dtype: Any, args: Any, thread: int, threads: int) -> None:
    # All threads read the summary's sum of weights, so this kernel doesn't change the sum.
    p, t, weights_ptr, weight_ptr = integers(args, 0, 4)
    rows, outputs, before_ptr, means, ssts, sses = integers(args, 4, 6)
    weights, weight = vector(dtype, weights_ptr, rows), scalar(dtype, weight_ptr)
    before = scalar(dtype, before_ptr)
    T = weights.dtype.type
    fraction = weight / (before + weight if before + weight > 0 else T(1))
    lanes = block_size(dtype)
    begin, end = partition(outputs, lanes, thread, threads)
    for j in range(begin, end, lanes):
        left = end - j
        # Subtracting the first row gives an SST of exactly 0 for equal targets.
        first, shift = load(dtype, t, j, left), block_of(dtype, 0)
        for i in range(rows):
            target = load(dtype, t, i * outputs + j, left) - first
            shift = multiply_add(block_of(dtype, weights[i]), target, shift)
        shift = shift / block_of(dtype, weight if weight > 0 else T(1))
        sst = sse = block_of(dtype, 0)
        for i in range(rows):
            row, w = i * outputs + j, block_of(dtype, weights[i])
            target = load(dtype, t, row, left)
            centered, error = target - first - shift, target - load(dtype, p, row, left)
            sst = multiply_add(w * centered, centered, sst)
            sse = multiply_add(w * error, error, sse)
        mean = load(dtype, means, j, left)
        change = first + shift - mean
        between = block_of(dtype, before * fraction) * change * change
        store(multiply_add(block_of(dtype, fraction), change, mean), means, j, left)
        store(load(dtype, ssts, j, left) + (sst + between), ssts, j, left)
        store(load(dtype, sses, j, left) + sse, sses, j, left)
