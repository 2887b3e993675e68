"""Codes of categories: outputs that are on or off, and rows of tables.

Tables of int64 on the device say what each output, or each row of a table, belongs to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import cupy

from gpunn.typing import Array

__all__ = ["copy_columns", "embed", "embed_gradient", "one_hot"]

ROW_OF = """
template <typename T> __device__ long long row_of(T code, long long size) {
  return code >= 0 && code < size ? (long long)code : 0;
}
"""


def on_device(numbers: Sequence[int]) -> Array:
    """Return whole numbers as an array of int64."""
    return cupy.asarray(numbers, cupy.int64)


def copy_columns(
    source: Array, first: int, out: Array, out_first: int, columns: int
) -> Callable[[], None]:
    """Return what copies columns of one matrix to another."""
    target = out[:, out_first : out_first + columns]
    return partial(copy_kernel(), source[:, first : first + columns], target)


def one_hot(
    codes: Array, sizes: Sequence[int], binary_as_sign: bool, levels: Array, out: Array
) -> Callable[[], None]:
    """Return what sets outputs as `Operations.one_hot` does; a thread does an element."""
    columns, categories, shared = list[int](), list[int](), list[int]()
    for column, size in enumerate(sizes):
        one = binary_as_sign and size == 3
        own = range(1, 2 if one else size)
        columns += [column for _ in own]
        categories += own
        shared += [1 if one else 0 for _ in own]
    tables = (on_device(each) for each in (columns, categories, shared))
    return partial(one_hot_kernel(), codes, *tables, levels, codes.shape[1], out.shape[1], out)


def embed(codes: Array, sizes: Sequence[int], table: Array, out: Array) -> Callable[[], None]:
    """Return what looks up rows of a table; a thread does an element."""
    starts = [0, *accumulate(sizes)][:-1]
    given = codes, on_device(sizes), on_device(starts), table, len(sizes), table.shape[1]
    return partial(embed_kernel(), *given, out)


def embed_gradient(
    codes: Array, sizes: Sequence[int], gradient: Array, table_gradient: Array
) -> Callable[[], None]:
    """Return what sums up the gradients of each row's uses, in the order of the batch.

    A thread does an element of the table, and looks at all codes of the column that its row is of.
    """
    owners = [column for column, size in enumerate(sizes) for _ in range(size)]
    firsts = [0, *accumulate(sizes)]
    starts = [firsts[column] for column in owners]
    given = codes, on_device(sizes), on_device(owners), on_device(starts), gradient
    shape = codes.shape[0], codes.shape[1], table_gradient.shape[1]
    return partial(embed_gradient_kernel(), *given, *shape, table_gradient)


@functools.cache
def copy_kernel() -> Any:
    return cupy.ElementwiseKernel("T x", "T y", "y = x;", "gpunn_copy_columns")


@functools.cache
def one_hot_kernel() -> Any:
    return cupy.ElementwiseKernel(
        """raw T codes, raw int64 column, raw int64 category, raw int64 shared, raw T levels,
           int64 columns, int64 outputs""",
        "T y",
        """const long long row = i / outputs, j = i - row * outputs;
           const T code = codes[row * columns + column[j]];
           const bool second = shared[j] && code == 2;
           y = levels[second ? 2 * outputs + j : code == category[j] ? outputs + j : j];""",
        "gpunn_one_hot",
    )


@functools.cache
def embed_kernel() -> Any:
    return cupy.ElementwiseKernel(
        """raw T codes, raw int64 sizes, raw int64 starts, raw T table, int64 columns,
           int64 dimension""",
        "T y",
        """const long long place = i / dimension, column = place % columns;
           const long long row = starts[column] + row_of(codes[place], sizes[column]);
           y = table[row * dimension + (i - place * dimension)];""",
        "gpunn_embed",
        preamble=ROW_OF,
    )


@functools.cache
def embed_gradient_kernel() -> Any:
    return cupy.ElementwiseKernel(
        """raw T codes, raw int64 sizes, raw int64 owners, raw int64 starts, raw T gradient,
           int64 rows, int64 columns, int64 dimension""",
        "T sum",
        """const long long row = i / dimension, column = owners[row], code = row - starts[row];
           const long long j = column * dimension + (i - row * dimension);
           sum = 0;
           for (long long k = 0; k < rows; ++k)
             if (row_of(codes[k * columns + column], sizes[column]) == code)
               sum += gradient[k * columns * dimension + j];""",
        "gpunn_embed_gradient",
        preamble=ROW_OF,
    )
