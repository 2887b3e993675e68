"""Members of an ensemble: factors of features, and products with separate weights."""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.interface import MAX_ARGS, P
from gpunn.backends.numpy.compiled.kernels.blocks import (
    ROWS,
    block_of,
    block_size,
    load,
    multiply_add,
    store,
)
from gpunn.backends.numpy.compiled.kernels.kernel import kernel, partition, vector
from gpunn.backends.numpy.compiled.kernels.pointers import call, copy_bytes, integers


@kernel
def scale(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, factors, out, rows, members, features = integers(args, 0, 6)
    lanes = block_size(dtype)
    begin, end = partition(rows, 1, thread, threads)
    for row in range(begin, end):
        for member in range(members):
            first, at = member * features, (row * members + member) * features
            for i in range(0, features, lanes):
                left = features - i
                value = load(dtype, x, row * features + i, left)
                store(value * load(dtype, factors, first + i, left), out, at + i, left)


@kernel
def scale_gradient(dtype: Any, args: Any, thread: int, threads: int) -> None:
    x, factors, gradient, factors_gradient, input_gradient = integers(args, 0, 5)
    rows, members, features = integers(args, 5, 3)
    lanes = block_size(dtype)
    begin, end = partition(features, lanes, thread, threads)
    for top in range(0, rows, ROWS):
        bottom = min(top + ROWS, rows)
        for column in range(begin, end, lanes):
            left = end - column
            for member in range(members):
                index = member * features + column
                factor = load(dtype, factors, index, left)
                total = block_of(dtype, 0)
                if top > 0:
                    total = load(dtype, factors_gradient, index, left)
                for row in range(top, bottom):
                    at = row * features + column
                    incoming = load(dtype, gradient, row * members * features + index, left)
                    total = multiply_add(incoming, load(dtype, x, at, left), total)
                    if input_gradient != 0:
                        back = incoming * factor
                        if member > 0:
                            back = back + load(dtype, input_gradient, at, left)
                        store(back, input_gradient, at, left)
                store(total, factors_gradient, index, left)


@kernel
def group_product(dtype: Any, args: Any, thread: int, threads: int) -> None:
    product, product_args, buffer, groups, a, b, c, initial, divided = integers(args, 0, 9)
    begin, end = partition(groups, 1, thread, threads) if divided else (0, groups)
    thread_args = buffer + thread * MAX_ARGS * 8
    copy_bytes(thread_args, product_args, MAX_ARGS * 8)
    w = vector(args, thread_args, MAX_ARGS)
    w[P.a] += begin * a
    w[P.b] += begin * b
    w[P.c] += begin * c
    w[P.initial] += begin * initial
    if divided:
        w[P.buffer] += thread * w[P.buffer_bytes]
    for _ in range(begin, end):
        if divided:
            call(product, thread_args, 0, 1)
        else:
            call(product, thread_args, thread, threads)
        w[P.a] += a
        w[P.b] += b
        w[P.c] += c
        w[P.initial] += initial
