"""Metrics of classification; `gpunn.metrics` has the mathematics.

Classes are stored in the network's dtype, so that comparisons use vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES, BY_THRESHOLD, OF_LABELS
from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, where
from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    load,
    load_integers,
    store,
)
from gpunn.backends.numpy.compiled.kernels.columns import transpose_matrix
from gpunn.backends.numpy.compiled.kernels.kernel import kernel, partition
from gpunn.backends.numpy.compiled.kernels.lanewise import lanewise
from gpunn.backends.numpy.compiled.kernels.losses import equals
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers


@lanewise
def above(a: Number, b: Number) -> Number:
    return where(a > b, 1.0, a.like(0.0))


def where_larger(number: Number, top: Number, there: Number, elsewhere: Number) -> Number:
    """Return `there` if number > top, else `elsewhere`; NaN is larger than any number."""
    larger = number.builder.fcmp_unordered(">", number.value, top.value)
    return where(top.equals(top), where(larger, there, elsewhere), elsewhere)


@lanewise
def larger(top: Number, number: Number) -> Number:
    return where_larger(number, top, number, top)


@lanewise
def column_of_larger(best: Number, top: Number, column: Number, number: Number) -> Number:
    return where_larger(number, top, column, best)


@kernel
def classify(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set each row's class by `rule`.

    OF_LABELS copies the label x. BY_LARGEST sets the class to argmax x. BY_THRESHOLD sets the class
    to 1 if x > threshold, else to 0; with two columns, x1 - x0 replaces x.
    """
    x, rows, columns, classes, rule, scratch_ptr, scratch_stride = integers(args, 0, 7)
    (threshold,) = floats(args, 7, 1)
    scratch, lanes = scratch_ptr + thread * scratch_stride, block_size(dtype)
    row_bytes = columns * (BLOCK_BYTES // lanes)
    begin, end = partition(rows, 1, thread, threads)
    for i in range(begin, end, lanes):
        left = end - i
        if rule == OF_LABELS:
            store(load_integers(dtype, np.int64, x, i, left), classes, i, left)
            continue
        high, source = min(left, lanes), x + i * row_bytes
        transpose_matrix(dtype, source, row_bytes, high, columns, scratch, BLOCK_BYTES)
        first = load(dtype, scratch, 0, lanes)
        if rule == BY_THRESHOLD:
            score = first
            if columns == 2:
                score = load(dtype, scratch, lanes, lanes) - first
            best = above(score, block_of(dtype, threshold))
        else:
            best, top = block_of(dtype, 0), first
            for j in range(1, columns):
                number = load(dtype, scratch, j * lanes, lanes)
                best = column_of_larger(best, top, block_of(dtype, j), number)
                top = larger(top, number)
        store(best, classes, i, left)


@kernel
def weights_where_right(dtype: Any, args: Any, thread: int, threads: int) -> None:
    predicted, actual, weights, rows, out = integers(args, 0, 5)
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for i in range(begin, end, lanes):
        left = end - i
        right = equals(load(dtype, predicted, i, left), load(dtype, actual, i, left))
        store(right * load(dtype, weights, i, left), out, i, left)
