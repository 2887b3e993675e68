"""The area under the ROC curve. The mathematics is in `gpunn.metrics.ranking`."""

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
    """Return the number of a score's bin, or -1 for NaN.

    asinh(x) = log(1 + x + x^2 / (1 + sqrt(1 + x^2))) for x >= 0.
    """
    x = abs(score) / scale
    x = where(x > 1e10, 1e10, x)  # beyond the end of any grid, and its square is finite
    square = x * x
    asinh = log1p(x + square / (1 + (1 + square).call("sqrt"))).with_sign_of(score)
    place = (asinh * (0.5 * bins / limit) + 0.5 * (bins + 1)).call("floor")
    place = where(place > bins - 1, bins - 1, where(place < 0, 0.0, place))
    return where(score.equals(score), place, -1.0)


bin_of_score = lanewise(bin_of)


@lanewise
def log_odds(
    shifted: Number, column: Number, best: Number, beside: Number, least: Number
) -> Number:
    """Return log(p / (1 - p)) for the probability p of one column.

    `shifted` is its logit, less the largest one of all columns, and `best` the column of that.
    `beside` is the sum of exp(shifted) over all columns but the best; a sum of exponentials that is
    smaller than `least` counts as that.
    """
    others = where(best.equals(column), beside, beside + (1 - negative_exp(shifted)))
    return shifted - log(where(others < least, least, others))


@lanewise
def add_others(beside: Number, shifted: Number, column: Number, best: Number) -> Number:
    """Return the sum `beside` with one more column, unless that is the best."""
    # As a product, so that a row with an infinite logit has no score, as it is defined.
    return beside + where(best.equals(column), beside.like(0), 1) * negative_exp(shifted)


@lanewise
def with_side(place: Number, actual: Number, column: Number, bins: Number) -> Number:
    """Return the place among the bins of rows of a class or, after them, of other rows."""
    return where(place < 0, place, where(actual.equals(column), place, place + bins))


@lanewise
def with_answer(place: Number, target: Number, bins: Number) -> Number:
    """Return the place among the bins of rows that say yes or, after them, of other rows."""
    return where(place < 0, place, where(target > 0.5, place, place + bins))


@kernel
def bin_labels(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set the place of each label's score among the bins of the label, or -1 for NaN.

    Each column is the scores of a label, and has bins as in `bin_scores`. Each thread does some
    rows.

    Arguments: x_ptr (rows, columns), targets_ptr (rows, columns), rows, columns, bins, places_ptr
    (columns, rows); then floats: the scale below which the grid is linear, and its end.
    """
    x, targets, rows, columns, bins_count, places = integers(args, 0, 6)
    constants = floats(args, 6, 2)
    scale, limit = block_of(dtype, constants[0]), block_of(dtype, constants[1])
    bins, lanes = block_of(dtype, bins_count), block_size(dtype)
    begin, end = partition(rows, lanes, thread, threads)
    for i in range(begin, end, lanes):
        left = end - i
        for j in range(columns):
            score = load_column(dtype, x, i * columns + j, columns, left)
            target = load_column(dtype, targets, i * columns + j, columns, left)
            place = bin_of_score(score, bins, scale, limit)
            store(with_answer(place, target, bins), places, j * rows + i, left)


@kernel
def bin_scores(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set the place of each score among the bins of a class, or -1 for NaN.

    A class has bins for its own rows, then as many for other rows. One column is the scores of one
    class, and the difference of two is; of more columns each is of a class, and its scores are the
    log odds. Each thread does some rows.

    Arguments: x_ptr (rows, columns), actual_ptr (rows,), rows, columns, bins, places_ptr (classes,
    rows), scratch_ptr (threads, columns, lanes), scratch_stride (to the next thread's); then
    floats: the scale below which the grid is linear, its end, and the least sum of exponentials.
    """
    x, actual_ptr = integers(args, 0, 2)
    rows, columns, bins_count, places, scratch_ptr, scratch_stride = integers(args, 2, 6)
    constants = floats(args, 8, 3)
    scale, limit = block_of(dtype, constants[0]), block_of(dtype, constants[1])
    least, bins = block_of(dtype, constants[2]), block_of(dtype, bins_count)
    numbers = scratch_ptr + thread * scratch_stride
    lanes = block_size(dtype)
    begin, end = partition(rows, lanes, thread, threads)
    for i in range(begin, end, lanes):
        left, row = end - i, i * columns
        actual = load(dtype, actual_ptr, i, left)
        top, best = load_column(dtype, x, row, columns, left), block_of(dtype, 0)
        beside = block_of(dtype, 0)
        if columns > 2:
            store(top, numbers, 0, lanes)
            for j in range(1, columns):
                number = load_column(dtype, x, row + j, columns, left)
                store(number, numbers, j * lanes, lanes)
                best = column_of_larger(best, top, block_of(dtype, j), number)
                top = maximum(top, number)
            for j in range(columns):
                shifted = load(dtype, numbers, j * lanes, lanes) - top
                beside = add_others(beside, shifted, block_of(dtype, j), best)
        for j in range(columns if columns > 2 else 1):
            own = block_of(dtype, j if columns > 2 else 1)
            if columns > 2:
                shifted = load(dtype, numbers, j * lanes, lanes) - top
                score = log_odds(shifted, own, best, beside, least)
            elif columns == 2:
                score = load_column(dtype, x, row + 1, columns, left) - top
            else:
                score = top
            place = bin_of_score(score, bins, scale, limit)
            store(with_side(place, actual, own, bins), places, j * rows + i, left)
