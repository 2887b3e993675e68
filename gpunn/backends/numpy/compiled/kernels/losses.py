"""The softmax cross-entropy of integer labels, its gradient, and accuracy."""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.interface import LOSS_BLOCK
from gpunn.backends.numpy.compiled.kernels.kernel import kernel, matrix, partition, scalar, vector
from gpunn.backends.numpy.compiled.kernels.mathematics import exp, log
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers


@kernel
def softmax_cross_entropy(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set losses_i = log sum_j exp(p_ij) - sum_j q_ij p_ij, and its gradient w_i / n (softmax - q).

    q are the labels as one-hot vectors, smoothed; w the rows' weights; n the normalizer, or 1 if
    that is 0. Each thread does some blocks of rows.

    Arguments: logits_ptr p (rows, classes), labels_ptr (rows,) of int64, weights_ptr (rows,),
    normalizer_ptr (1,), rows, classes, losses_ptr (rows,), gradient_ptr (rows, classes) or 0,
    scratch_ptr (threads, classes + 4, LOSS_BLOCK), scratch_stride (to the next thread's),
    label_smoothing (float).
    """
    (
        logits_ptr,
        labels_ptr,
        weights_ptr,
        normalizer_ptr,
        rows,
        classes,
        losses_ptr,
        gradient_ptr,
        scratch_ptr,
        scratch_stride,
    ) = integers(args, 0, 10)
    (label_smoothing,) = floats(args, 10, 1)
    logits = matrix(dtype, logits_ptr, rows, classes)
    gradient = matrix(dtype, gradient_ptr, rows if gradient_ptr != 0 else 0, classes)
    labels, weights = vector(args, labels_ptr, rows), vector(dtype, weights_ptr, rows)
    losses, normalizer = vector(dtype, losses_ptr, rows), scalar(dtype, normalizer_ptr)
    T = losses.dtype.type
    zero, one = T(0), T(1)
    smoothing = T(label_smoothing)
    even, own = smoothing / T(classes), one - smoothing
    # The block transposed, a class a line; then lines of one number a row each.
    own_scratch_ptr = scratch_ptr + thread * scratch_stride
    scratch = matrix(dtype, own_scratch_ptr, classes, LOSS_BLOCK)
    each = matrix(dtype, own_scratch_ptr + classes * LOSS_BLOCK * scratch.itemsize, 4, LOSS_BLOCK)
    top, total, sum_logits, factor = each[0], each[1], each[2], each[3]
    begin, end = partition(rows, LOSS_BLOCK, thread, threads)
    for start in range(begin, end, LOSS_BLOCK):
        count = min(LOSS_BLOCK, end - start)
        block = logits[start : start + count]
        for i in range(count):
            for j in range(classes):
                scratch[j, i] = block[i, j]
        for i in range(LOSS_BLOCK):
            top[i] = scratch[0, i]
            total[i] = sum_logits[i] = zero
        for j in range(1, classes):
            for i in range(LOSS_BLOCK):
                top[i] = max(top[i], scratch[j, i])
        for j in range(classes):
            for i in range(LOSS_BLOCK):
                shifted = scratch[j, i] - top[i]  # so that none overflows
                sum_logits[i] += shifted
                value = exp(shifted)
                scratch[j, i] = value
                total[i] += value
        own_labels, own_losses = labels[start : start + count], losses[start : start + count]
        for i in range(count):
            expected = own * (block[i, own_labels[i]] - top[i])
            if smoothing > zero:
                expected += even * sum_logits[i]
            own_losses[i] = log(total[i]) - expected
        if gradient_ptr != 0:
            own_weights, out = weights[start : start + count], gradient[start : start + count]
            for i in range(count):
                row_weight = own_weights[i] / (normalizer if normalizer > zero else one)
                top[i] = row_weight
                factor[i] = row_weight / total[i]
            for i in range(count):
                for j in range(classes):
                    out[i, j] = factor[i] * scratch[j, i] - top[i] * even
                out[i, own_labels[i]] -= top[i] * own


@kernel
def add_weighted_sum(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out = out + sum_i weights_i values_i; thread 0 adds them in order.

    Arguments: values_ptr (size,), weights_ptr (size,), size, out_ptr (1,).
    """
    if thread == 0:
        values_ptr, weights_ptr, size, out_ptr = integers(args, 0, 4)
        values, weights = vector(dtype, values_ptr, size), vector(dtype, weights_ptr, size)
        out = vector(dtype, out_ptr, 1)
        total = out.dtype.type(0)
        for i in range(size):
            total += values[i] * weights[i]
        out[0] += total


@kernel
def accuracy(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set correct_i = 1 where the largest prediction is the label's, 0 elsewhere.

    Each thread does some rows. Arguments: predictions_ptr (rows, classes), labels_ptr (rows,) of
    int64, rows, classes, correct_ptr (rows,).
    """
    predictions_ptr, labels_ptr, rows, classes, correct_ptr = integers(args, 0, 5)
    predictions = matrix(dtype, predictions_ptr, rows, classes)
    labels, correct = vector(args, labels_ptr, rows), vector(dtype, correct_ptr, rows)
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
