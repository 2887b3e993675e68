"""Losses and their gradients; `gpunn.losses` has the mathematics."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES, ROW_FUNCTIONS
from gpunn.backends.numpy.compiled.kernels.arithmetic import Number, where
from gpunn.backends.numpy.compiled.kernels.blocks import (
    block_of,
    block_size,
    load,
    load_integers,
    multiply_add,
    store,
)
from gpunn.backends.numpy.compiled.kernels.columns import transpose_matrix
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, kernel, partition, scalar, vector
from gpunn.backends.numpy.compiled.kernels.lanewise import lanewise, one_of
from gpunn.backends.numpy.compiled.kernels.mathematics import exp, log, log1p, negative_exp
from gpunn.backends.numpy.compiled.kernels.pointers import floats, integers
from gpunn.backends.numpy.compiled.kernels.sums import sum_of_row

Pair: TypeAlias = tuple[Number, Number]

# Functions of a prediction p, a target t, and a constant of the loss. Each function returns its
# value and its derivative with respect to p.


def squared_error(p: Number, t: Number, _: Number) -> Pair:
    """Return (p - t)^2 and half of the derivative, p - t; the loss's `slope` has the factor 2."""
    d = p - t
    return d * d, d


def absolute_error(p: Number, t: Number, _: Number) -> Pair:
    d = p - t
    return abs(d), where(d > 0, 1.0, where(d < 0, -1.0, d))


def huber(p: Number, t: Number, delta: Number) -> Pair:
    """Return loss and slope at d = p - t: d^2 / 2, or delta * (|d| - delta / 2) if |d| > delta."""
    d = p - t
    clipped = where(d > delta, delta, where(d < -delta, -delta, d))
    return clipped * (d - 0.5 * clipped), clipped


def quantile(p: Number, t: Number, q: Number) -> Pair:
    d = p - t
    slope = where(d > 0, 1 - q, where(d < 0, -q, d))
    return slope * d, slope


def binary_cross_entropy(p: Number, t: Number, _: Number) -> Pair:
    """Return log(1 + e^p) - t * p and sigmoid(p) - t, without overflow for large |p|."""
    e = negative_exp(-abs(p))
    softplus, sigmoid = where(p > 0, p, 0) + log1p(e), where(p < 0, e, 1) / (1 + e)
    return softplus - t * p, sigmoid - t


def poisson(p: Number, t: Number, from_zero: Number) -> Pair:
    """Return the loss e^p - t p and the derivative e^p - t.

    If from_zero > 0, the loss also includes t log(t) - t, so that the minimum over p is 0.
    """
    e, minimum = exp(p), t * log(where(t > 0, t, 1)) - t
    return e - t * p + where(from_zero > 0, minimum, 0), e - t


FUNCTIONS = {
    function.__name__: function
    for function in (
        *(squared_error, absolute_error, huber, quantile, binary_cross_entropy, poisson),
    )
}

value_and_slope = one_of([FUNCTIONS[name] for name in ROW_FUNCTIONS], 2)
"""Applies the function with a given index in `interface.ROW_FUNCTIONS` to three blocks."""


@compiled
def normalizer_or_one(dtype: Any, address: int) -> Any:
    T = vector(dtype, address, 0).dtype.type
    if address == 0 or not scalar(dtype, address) > 0:
        return T(1)
    return scalar(dtype, address)


@kernel
def sum_over_outputs(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set values_i = scale * sum_j f(p_ij, t_ij); gradient_ij = slope * w_i / n * f'(p_ij, t_ij).

    f is one of `ROW_FUNCTIONS`, and w_i is the weight of row i. n is the normalizer, or 1 if the
    normalizer is 0.
    """
    predictions, targets, weights_ptr, normalizer_ptr, rows, outputs = integers(args, 0, 6)
    values_ptr, gradient, scratch_ptr, scratch_stride, together, function = integers(args, 6, 6)
    scale, slope, constant = floats(args, 12, 3)
    values, weights = vector(dtype, values_ptr, rows), vector(dtype, weights_ptr, rows)
    T = values.dtype.type
    scales, constants = block_of(dtype, scale), block_of(dtype, constant)
    factor = T(slope) / normalizer_or_one(dtype, normalizer_ptr)
    terms = scratch_ptr + thread * scratch_stride
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for start in range(begin, end, together):
        stop = min(start + together, end)
        first, last = start * outputs, stop * outputs
        # Process all numbers as one vector, since a row may have one number or a thousand.
        for k in range(first, last, lanes):
            left = last - k
            p, t = load(dtype, predictions, k, left), load(dtype, targets, k, left)
            value, derivative = value_and_slope(function, p, t, constants)
            store(value, terms, k - first, lanes)
            if gradient != 0:
                store(derivative, gradient, k, left)
        if outputs == 1:
            for i in range(start, stop, lanes):
                left = stop - i
                store(scales * load(dtype, terms, i - start, left), values_ptr, i, left)
                if gradient != 0:
                    row_factor = block_of(dtype, factor) * load(dtype, weights_ptr, i, left)
                    store(row_factor * load(dtype, gradient, i, left), gradient, i, left)
        else:
            for i in range(start, stop):
                row = i * outputs
                values[i] = T(scale) * sum_of_row(dtype, terms, row - first, outputs)
                if gradient != 0:
                    row_factor = block_of(dtype, factor * weights[i])
                    for j in range(0, outputs, lanes):
                        left = outputs - j
                        scaled = row_factor * load(dtype, gradient, row + j, left)
                        store(scaled, gradient, row + j, left)


@lanewise
def equals(a: Number, b: Number) -> Number:
    return where(a.equals(b), 1.0, a.like(0.0))


@lanewise
def larger(a: Number, b: Number) -> Number:
    """Return the larger number, or a if a or b is NaN; the row's loss is then NaN anyway."""
    return where(b > a, b, a)


@kernel
def softmax_cross_entropy(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Set losses_i = log(sum_j exp(p_ij)) - sum_j q_ij * p_ij, and the gradient.

    gradient_ij = w_i / n * (softmax(p_i)_j - q_ij).

    q are the smoothed targets, and w are the rows' weights. n is the normalizer, or 1 if the
    normalizer is 0.
    """
    logits, labels_ptr, probabilities, weights, normalizer_ptr, rows = integers(args, 0, 6)
    classes, losses, gradient, scratch_ptr, scratch_stride, smoothing_ptr = integers(args, 6, 6)
    (smoothing,) = floats(args, 12, 1)
    if smoothing_ptr != 0:
        smoothing = float(scalar(dtype, smoothing_ptr))
    kept, spread = block_of(dtype, 1 - smoothing), block_of(dtype, smoothing / classes)
    n = block_of(dtype, normalizer_or_one(dtype, normalizer_ptr))
    lanes = block_size(dtype)
    columns = scratch_ptr + thread * scratch_stride
    targets, row_bytes = columns + classes * BLOCK_BYTES, classes * (BLOCK_BYTES // lanes)
    begin, end = partition(rows, 1, thread, threads)
    for i in range(begin, end, lanes):
        left, at = end - i, i * row_bytes
        high = min(left, lanes)
        transpose_matrix(dtype, logits + at, row_bytes, high, classes, columns, BLOCK_BYTES)
        labels = block_of(dtype, 0)
        if labels_ptr != 0:
            labels = load_integers(dtype, np.int64, labels_ptr, i, left)
        else:
            source = probabilities + at
            transpose_matrix(dtype, source, row_bytes, high, classes, targets, BLOCK_BYTES)
        top = load(dtype, columns, 0, lanes)
        for j in range(1, classes):
            top = larger(top, load(dtype, columns, j * lanes, lanes))
        expected = total = block_of(dtype, 0)
        for j in range(classes):
            if labels_ptr != 0:
                t = equals(labels, block_of(dtype, j))
            else:
                t = load(dtype, targets, j * lanes, lanes)
            shifted = load(dtype, columns, j * lanes, lanes) - top  # to avoid overflow
            e, q = negative_exp(shifted), multiply_add(t, kept, spread)
            expected, total = multiply_add(q, shifted, expected), total + e
            store(e, columns, j * lanes, lanes)
            store(q, targets, j * lanes, lanes)
        store(log(total) - expected, losses, i, left)  # since a row of q sums to one
        if gradient != 0:
            factor = load(dtype, weights, i, left) / n
            per_e = factor / total
            for j in range(classes):
                probability = load(dtype, columns, j * lanes, lanes) * per_e
                q = load(dtype, targets, j * lanes, lanes)
                store(probability - factor * q, columns, j * lanes, lanes)
            transpose_matrix(dtype, columns, BLOCK_BYTES, classes, high, gradient + at, row_bytes)
