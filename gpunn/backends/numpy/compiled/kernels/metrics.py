"""Metrics of classification; `gpunn.metrics` has the mathematics.

Classes are stored in the network's dtype, so that comparisons use vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.interface import BY_THRESHOLD, OF_LABELS
from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, where
from gpunn.backends.numpy.compiled.kernels.block_columns import load_column
from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    load,
    load_integers,
    maximum,
    only_first,
    store,
    sum_of,
)
from gpunn.backends.numpy.compiled.kernels.kernel import kernel, partition, vector
from gpunn.backends.numpy.compiled.kernels.lanewise import lanewise
from gpunn.backends.numpy.compiled.kernels.losses import equals
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers


@lanewise
def above(a: Number, b: Number) -> Number:
    return where(a > b, 1.0, a.like(0.0))


@lanewise
def column_of_larger(best: Number, top: Number, column: Number, number: Number) -> Number:
    """Return `column` if `number` > `top`, else `best`; NaN is larger than any number."""
    larger = where(number.equals(number), where(number > top, column, best), column)
    return where(top.equals(top), larger, best)


@kernel
def classify(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set the class of each row; each thread computes some rows.

    With the rule OF_LABELS, the class is the label. With BY_THRESHOLD, the class is 1 if the only
    column, or the difference of two columns, is above the threshold, else 0. With BY_LARGEST, the
    class is the first column with the largest number.

    Arguments: x_ptr (rows, columns), or (rows,) of int64 for labels, rows, columns, classes_ptr
    (rows,), rule (OF_LABELS, BY_THRESHOLD or BY_LARGEST), threshold (float).
    """
    x, rows, columns, classes, rule = integers(args, 0, 5)
    (threshold,) = floats(args, 5, 1)
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for i in range(begin, end, lanes):
        left, row = end - i, i * columns
        if rule == OF_LABELS:
            best = load_integers(dtype, np.int64, x, i, left)
        elif rule == BY_THRESHOLD:
            score = load_column(dtype, x, row + columns - 1, columns, left)
            if columns == 2:
                score = score - load_column(dtype, x, row, columns, left)
            best = above(score, block_of(dtype, threshold))
        else:
            best, top = block_of(dtype, 0), load_column(dtype, x, row, columns, left)
            for j in range(1, columns):
                number = load_column(dtype, x, row + j, columns, left)
                best = column_of_larger(best, top, block_of(dtype, j), number)
                top = maximum(top, number)
        store(best, classes, i, left)


@kernel
def weights_where_right(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set out to the rows' weights, or to 0 in rows whose predicted class is wrong.

    Each thread computes some rows. Arguments: predicted_ptr (rows,), actual_ptr (rows,),
    weights_ptr (rows,), rows, out_ptr (rows,).
    """
    predicted, actual, weights, rows, out = integers(args, 0, 5)
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for i in range(begin, end, lanes):
        left = end - i
        right = equals(load(dtype, predicted, i, left), load(dtype, actual, i, left))
        store(right * load(dtype, weights, i, left), out, i, left)


@kernel
def top_k(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set correct_i = 1 if fewer than k predictions exceed the true class's prediction, else 0.

    Each thread computes some rows. Arguments: predictions_ptr (rows, classes), actual_ptr (rows,),
    rows, classes, k, correct_ptr (rows,).
    """
    predictions, actual_ptr, rows, classes, k, correct_ptr = integers(args, 0, 6)
    numbers = vector(dtype, predictions, rows * classes)
    actual, correct = vector(dtype, actual_ptr, rows), vector(dtype, correct_ptr, rows)
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for i in range(begin, end):
        true = min(max(int(actual[i]), 0), classes - 1)
        of_true, larger = block_of(dtype, numbers[i * classes + true]), block_of(dtype, 0)
        for j in range(0, classes, lanes):
            left = classes - j
            number = load(dtype, predictions, i * classes + j, left)
            larger = larger + only_first(above(number, of_true), left)
        correct[i] = 1 if sum_of(larger) < k else 0
