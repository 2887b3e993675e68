"""The area under the ROC curve; `gpunn.metrics.ranking` has the mathematics."""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, where
from gpunn.backends.numpy.compiled.kernels.block_columns import load_column
from gpunn.backends.numpy.compiled.kernels.blocks import block_of, block_size, load, maximum, store
from gpunn.backends.numpy.compiled.kernels.kernel import kernel, partition
from gpunn.backends.numpy.compiled.kernels.lanewise import lanewise
from gpunn.backends.numpy.compiled.kernels.mathematics import log, log1p, negative_exp
from gpunn.backends.numpy.compiled.kernels.metrics import column_of_larger
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers


def bin_of(score: Number, bins: Number, scale: Number, limit: Number) -> Number:
    """Return the index of a score's bin, or -1 if the score is NaN.

    All bins have the same width, measured in asinh(score / scale).
    """
    x = abs(score) / scale
    x = where(x > 1e10, 1e10, x)  # beyond any grid's end, with a finite square
    square = x * x
    # asinh(x) = log(1 + x + x^2 / (1 + sqrt(1 + x^2)))
    asinh = log1p(x + square / (1 + (1 + square).call("sqrt"))).with_sign_of(score)
    index = (asinh * (0.5 * bins / limit) + 0.5 * (bins + 1)).call("floor")
    index = where(index > bins - 1, bins - 1, where(index < 0, 0.0, index))
    return where(score.equals(score), index, -1.0)


bin_of_score = lanewise(bin_of)


@lanewise
def log_odds(
    shifted: Number, column: Number, best: Number, others: Number, min_sum: Number
) -> Number:
    """Return log(p / (1 - p)) for the softmax probability p of the class `column`.

    `shifted` is the column's logit minus the row's largest logit, which is in column `best`.
    `others` is the sum of exp(shifted) over all columns except `best`.
    """
    total = where(best.equals(column), others, others + (1 - negative_exp(shifted)))
    return shifted - log(where(total < min_sum, min_sum, total))


@lanewise
def add_others(others: Number, shifted: Number, column: Number, best: Number) -> Number:
    # The product keeps NaN: a row with an infinite logit has no score, by definition.
    return others + where(best.equals(column), others.like(0), 1) * negative_exp(shifted)


@lanewise
def bin_by_class(index: Number, actual: Number, column: Number, bins: Number) -> Number:
    # Bins for rows of the class come before all other bins.
    return where(index < 0, index, where(actual.equals(column), index, index + bins))


@lanewise
def bin_by_answer(index: Number, target: Number, bins: Number) -> Number:
    # Bins for positive rows come before all other bins.
    return where(index < 0, index, where(target > 0.5, index, index + bins))


@kernel
def bin_labels(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, targets, rows, columns, bins_count, bin_indices = integers(args, 0, 6)
    constants = floats(args, 6, 2)
    scale, limit = block_of(dtype, constants[0]), block_of(dtype, constants[1])
    bins, lanes = block_of(dtype, bins_count), block_size(dtype)
    begin, end = partition(rows, lanes, thread, threads)
    for i in range(begin, end, lanes):
        left = end - i
        for j in range(columns):
            score = load_column(dtype, x, i * columns + j, columns, left)
            target = load_column(dtype, targets, i * columns + j, columns, left)
            index = bin_of_score(score, bins, scale, limit)
            store(bin_by_answer(index, target, bins), bin_indices, j * rows + i, left)


@kernel
def bin_scores(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """For each row and class, set the index of the score's bin, or -1 if the score is NaN.

    The first half of a class's bins is for rows of the class, the second half for all other rows.
    With one or two columns, only class 1 has scores: x[:, 0], or x[:, 1] - x[:, 0].
    With more columns, the score of a class is the log odds of the class.
    """
    x, actual_ptr = integers(args, 0, 2)
    rows, columns, bins_count, bin_indices, scratch_ptr, scratch_stride = integers(args, 2, 6)
    constants = floats(args, 8, 3)
    scale, limit = block_of(dtype, constants[0]), block_of(dtype, constants[1])
    min_sum, bins = block_of(dtype, constants[2]), block_of(dtype, bins_count)
    numbers = scratch_ptr + thread * scratch_stride
    lanes = block_size(dtype)
    begin, end = partition(rows, lanes, thread, threads)
    for i in range(begin, end, lanes):
        left, row = end - i, i * columns
        actual = load(dtype, actual_ptr, i, left)
        top, best = load_column(dtype, x, row, columns, left), block_of(dtype, 0)
        others = block_of(dtype, 0)
        if columns > 2:
            store(top, numbers, 0, lanes)
            for j in range(1, columns):
                number = load_column(dtype, x, row + j, columns, left)
                store(number, numbers, j * lanes, lanes)
                best = column_of_larger(best, top, block_of(dtype, j), number)
                top = maximum(top, number)
            for j in range(columns):
                shifted = load(dtype, numbers, j * lanes, lanes) - top
                others = add_others(others, shifted, block_of(dtype, j), best)
        for j in range(columns if columns > 2 else 1):
            class_number = block_of(dtype, j if columns > 2 else 1)
            if columns > 2:
                shifted = load(dtype, numbers, j * lanes, lanes) - top
                score = log_odds(shifted, class_number, best, others, min_sum)
            elif columns == 2:
                score = load_column(dtype, x, row + 1, columns, left) - top
            else:
                score = top
            index = bin_of_score(score, bins, scale, limit)
            store(bin_by_class(index, actual, class_number, bins), bin_indices, j * rows + i, left)
