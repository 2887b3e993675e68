"""Mean predictions of members; see `gpunn.layers.MeanOverMembers`."""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.interface import MEMBER_MEANS
from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, where
from gpunn.backends.numpy.compiled.kernels.block_columns import load_column, store_column
from gpunn.backends.numpy.compiled.kernels.blocks import block_of, block_size, load, maximum, store
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition
from gpunn.backends.numpy.compiled.kernels.lanewise import lanewise
from gpunn.backends.numpy.compiled.kernels.mathematics import log, log1p, negative_exp
from gpunn.backends.numpy.compiled.kernels.pointers import integers

IDENTITY, SOFTMAX = MEMBER_MEANS.index("identity"), MEMBER_MEANS.index("softmax")


@lanewise
def log_sigmoid(x: Number) -> Number:
    return where(x < 0, x, 0) - log1p(negative_exp(-abs(x)))


@compiled
def log_of_sum(dtype: Any, address: int, first: int, count: int) -> Any:
    lanes = block_size(dtype)
    top = load(dtype, address, first, lanes)
    for k in range(1, count):
        top = maximum(top, load(dtype, address, first + k * lanes, lanes))
    total = block_of(dtype, 0)
    for k in range(count):
        total = total + negative_exp(load(dtype, address, first + k * lanes, lanes) - top)
    return top + log(total)


@kernel
def mean_over_members(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, rows, members, outputs, of, scratch_ptr, scratch_stride, out = integers(args, 0, 8)
    lanes, zero = block_size(dtype), block_of(dtype, 0)
    count, log_count = block_of(dtype, members), log(block_of(dtype, members))
    scratch, row_size = scratch_ptr + thread * scratch_stride, members * outputs
    terms = members * lanes  # the offset of the terms, which follow the logarithms of the sums
    begin, end = partition(rows, lanes, thread, threads)
    for i in range(begin, end, lanes):
        left, row = end - i, i * row_size
        if of == SOFTMAX:
            for m in range(members):
                for j in range(outputs):
                    logit = load_column(dtype, x, row + m * outputs + j, row_size, left)
                    store(logit, scratch, terms + j * lanes, lanes)
                store(log_of_sum(dtype, scratch, terms, outputs), scratch, m * lanes, lanes)
        for j in range(outputs):
            value = zero
            if of == IDENTITY:
                for m in range(members):
                    value = value + load_column(dtype, x, row + m * outputs + j, row_size, left)
                value = value / count
            elif of == SOFTMAX:
                for m in range(members):
                    logit = load_column(dtype, x, row + m * outputs + j, row_size, left)
                    share = logit - load(dtype, scratch, m * lanes, lanes)
                    store(share, scratch, terms + m * lanes, lanes)
                value = log_of_sum(dtype, scratch, terms, members) - log_count
            else:
                for sign in range(2):
                    for m in range(members):
                        logit = load_column(dtype, x, row + m * outputs + j, row_size, left)
                        logit = logit if sign == 0 else zero - logit
                        store(log_sigmoid(logit), scratch, terms + m * lanes, lanes)
                    value = log_of_sum(dtype, scratch, terms, members) - value
                value = zero - value
            store_column(value, out, i * outputs + j, outputs, left)
