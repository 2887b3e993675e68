"""Rows of a data set, and the one-element arrays that say which come next."""

from __future__ import annotations

import functools
import math
from typing import Any

import cupy

from gpunn.typing import Array

__all__ = ["count_finite", "gather_rows", "rescale", "select"]


def gather_rows(source: Array, order: Array, start: Array, out: Array) -> None:
    """out[i] = source[order[start + i]], converted to out's type."""
    gather_kernel()(source, order, start, math.prod(source.shape[1:]), out)


def rescale(x: Array, scale: float, offset: float, out: Array) -> None:
    """Set out = scale * x + offset, computed in out's type."""
    rescale_kernel()(x, scale, offset, out)


def select(table: Array, index: Array, out: Array) -> None:
    """Set out = table[index]."""
    select_kernel()(table, index, out)


def count_finite(loss_sum: Array, out: Array) -> None:
    """Set out = out + 1 if `loss_sum` is finite."""
    count_finite_kernel()(loss_sum, out)


@functools.cache
def gather_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "raw S source, raw int64 order, raw int64 start, int64 width",
        "T y",
        """const long long row = i / width;
           y = (T)source[order[start[0] + row] * width + (i - row * width)];""",
        "gpunn_gather_rows",
    )


@functools.cache
def rescale_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "S x, T scale, T offset", "T y", "y = (T)x * scale + offset;", "gpunn_rescale"
    )


@functools.cache
def select_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "raw T table, raw int64 index", "T y", "y = table[index[0]];", "gpunn_select"
    )


@functools.cache
def count_finite_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T loss_sum", "T steps", "steps += isfinite(loss_sum);", "gpunn_count_finite"
    )
