"""Statistics of columns, computed on the host before training."""

import logging
import math
from collections.abc import Iterator

import numpy as np

from gpunn.configurable import check_integer
from gpunn.data.memory_maps import release, rows_of
from gpunn.errors import DataError
from gpunn.typing import HostArray

LOG = logging.getLogger("gpunn")

_CHUNK_ITEMS = 2**20  # 8 MiB of float64


def column_statistics(
    X: HostArray,
    chunk_rows: int | None = None,
    *,
    indices: np.ndarray | None = None,
    name: str = "X",
) -> tuple[np.ndarray, np.ndarray]:
    # As `mean_and_std`, but a constant column has the deviation 1, so that standardization gives 0.
    X = np.asanyarray(X)
    if X.ndim != 2 or X.shape[0] == 0:
        raise DataError(
            f"{name}: expected a matrix (rows, columns) with at least one row, got shape {X.shape}"
        )
    if X.dtype.kind not in "biuf":
        raise DataError(f"{name}: expected real numbers, got dtype {X.dtype}")
    if chunk_rows is not None:
        check_integer("chunk_rows", chunk_rows)
    columns = X.shape[1]
    mean, std, constant = mean_and_std(X, indices, chunk_rows)
    bad = ~(np.isfinite(mean) & np.isfinite(std))
    if bad.any():
        raise DataError(
            f"{name}: NaN, infinity or values too large to square in {int(bad.sum())} of {columns} "
            f"column{'s' if columns > 1 else ''}; the first is column {int(bad.argmax())}. Remove "
            "or replace these values"
        )
    lost = ~constant & (std == 0)
    if lost.any():
        raise DataError(
            f"{name}: the numbers of column {int(lost.argmax())} differ so little that the "
            "squares of their differences are 0; rescale the column"
        )
    if constant.any() and (len(X) if indices is None else len(indices)) > 1:
        first = np.flatnonzero(constant)[:5]
        LOG.warning(
            "%s: %d of %d columns are constant and carry no information (%s, counted from 0)",
            name,
            constant.sum(),
            columns,
            ", ".join(map(str, first)) + (", ..." if constant.sum() > len(first) else ""),
        )
    std[std == 0] = 1
    return mean, std


def mean_and_std(
    X: np.ndarray, indices: np.ndarray | None = None, chunk_rows: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each column's mean and standard deviation in float64, and a mask of constant columns.

    The statistics of chunks are merged as in Chan, Golub & LeVeque 1983, "Algorithms for Computing
    the Sample Variance", equation 2.1. A constant column has the deviation 0.
    """
    mean = squares = origin = np.zeros(X.shape[1])
    constant = np.ones(X.shape[1], dtype=bool)
    rows = 0
    with np.errstate(invalid="ignore", over="ignore"):
        for raw in chunks_of(X, indices, chunk_rows):
            chunk = raw.astype(np.float64)
            origin = origin if rows else chunk[0].copy()
            chunk -= origin
            constant &= ~chunk.any(axis=0)
            before, rows = rows, rows + len(chunk)
            chunk_mean = chunk.mean(axis=0)
            chunk -= chunk_mean
            delta = chunk_mean - mean
            mean = mean + delta * (len(chunk) / rows)
            chunk *= chunk
            squares = squares + chunk.sum(axis=0)
            squares += delta * delta * (before * len(chunk) / rows)
        return mean + origin, np.sqrt(squares / rows), constant


def chunks_of(
    X: np.ndarray, indices: np.ndarray | None = None, chunk_rows: int | None = None
) -> Iterator[np.ndarray]:
    rows = len(X) if indices is None else len(indices)
    step = chunk_rows or max(1, _CHUNK_ITEMS // max(1, math.prod(X.shape[1:])))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        yield rows_of(X, slice(start, stop) if indices is None else indices[start:stop])
        release(X)
