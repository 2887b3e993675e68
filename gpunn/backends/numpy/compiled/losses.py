"""The softmax cross-entropy of integer labels, its gradient, and the weighted sum of losses."""

from __future__ import annotations

import math
from typing import Any

from numba import carray

from gpunn.backends.numpy.compiled.exponential import exp
from gpunn.backends.numpy.compiled.kernel import Kernel, integers, matrix, number, partition, vector
from gpunn.backends.numpy.compiled.pointers import pointer

__all__ = ["ACCURACY", "ADD_WEIGHTED_SUM", "BLOCK", "SOFTMAX_CROSS_ENTROPY"]

BLOCK = 16
"""Rows that are handled together."""


@Kernel
def SOFTMAX_CROSS_ENTROPY(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Give each row's loss, and its gradient times weight / normalizer.

    Words: logits, labels, weights, normalizer, rows, classes, bits of the label smoothing, losses,
    gradient (or 0), the threads' scratch memory of (classes + 4) * BLOCK numbers, bytes of each.
    """
    w = integers(args)
    rows, classes = w[4], w[5]
    logits = matrix(dtype, w[0], rows, classes)
    gradient = matrix(dtype, w[8], rows if w[8] != 0 else 0, classes)
    labels, weights = carray(pointer(args, w[1]), rows), vector(dtype, w[2], rows)
    losses, normalizer = vector(dtype, w[7], rows), vector(dtype, w[3], 1)[0]
    T = losses.dtype.type
    zero, one = T(0), T(1)
    smoothing = T(number(w[6]))
    even, own = smoothing / T(classes), one - smoothing
    # A class of the block's rows a line, since classes may be few; then one number a row each.
    scratch = matrix(dtype, w[9] + thread * w[10], classes, BLOCK)
    each = matrix(dtype, w[9] + thread * w[10] + classes * BLOCK * scratch.itemsize, 4, BLOCK)
    top, total, sum_logits, factor = each[0], each[1], each[2], each[3]
    begin, end = partition(rows, BLOCK, thread, threads)
    for start in range(begin, end, BLOCK):
        count = min(BLOCK, end - start)
        block = logits[start : start + count]
        for i in range(count):
            for j in range(classes):
                scratch[j, i] = block[i, j]
        for i in range(BLOCK):
            top[i] = scratch[0, i]
            total[i] = sum_logits[i] = zero
        for j in range(1, classes):
            for i in range(BLOCK):
                top[i] = max(top[i], scratch[j, i])
        for j in range(classes):
            for i in range(BLOCK):
                shifted = scratch[j, i] - top[i]
                sum_logits[i] += shifted
                value = exp(shifted)
                scratch[j, i] = value
                total[i] += value
        own_labels, own_losses = labels[start : start + count], losses[start : start + count]
        for i in range(count):
            expected = own * (block[i, own_labels[i]] - top[i])
            if smoothing > zero:
                expected += even * sum_logits[i]
            own_losses[i] = T(math.log(total[i])) - expected
        if w[8] != 0:
            own_weights, out = weights[start : start + count], gradient[start : start + count]
            for i in range(count):
                share_of_row = own_weights[i] / (normalizer if normalizer > zero else one)
                top[i] = share_of_row
                factor[i] = share_of_row / total[i]
            for i in range(count):
                for j in range(classes):
                    out[i, j] = factor[i] * scratch[j, i] - top[i] * even
                out[i, own_labels[i]] -= top[i] * own


@Kernel
def ADD_WEIGHTED_SUM(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = out + sum_i weights_i values_i. Words: values, weights, size, out."""
    if thread == 0:
        w = integers(args)
        values, weights, out = (
            vector(dtype, w[0], w[2]),
            vector(dtype, w[1], w[2]),
            vector(dtype, w[3], 1),
        )
        total = out.dtype.type(0)
        for i in range(w[2]):
            total += values[i] * weights[i]
        out[0] += total


@Kernel
def ACCURACY(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set correct_i = 1 where the largest prediction is the label's, 0 elsewhere.

    Words: predictions, labels, rows, classes, correct.
    """
    w = integers(args)
    rows, classes = w[2], w[3]
    predictions, labels = matrix(dtype, w[0], rows, classes), carray(pointer(args, w[1]), rows)
    correct = vector(dtype, w[4], rows)
    T = correct.dtype.type
    begin, end = partition(rows, 1, thread, threads)
    for i in range(begin, end):
        best = 0
        for j in range(1, classes):
            # A NaN counts as the largest, as numpy.argmax has it.
            larger = predictions[i, j] > predictions[i, best]
            is_nan = predictions[i, j] != predictions[i, j]
            if predictions[i, best] == predictions[i, best] and (larger or is_nan):
                best = j
        correct[i] = T(1) if best == labels[i] else T(0)
