"""Column statistics and row splits, computed on the host before training."""

from __future__ import annotations

import logging
import math
import operator

import numpy as np

from gpunn.data.mapped import release, rows_of
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.randomness import generator
from gpunn.typing import HostArray

__all__ = ["column_statistics", "split_rows"]

LOG = logging.getLogger("gpunn")

_CHUNK_ITEMS = 2**20  # 8 MiB of float64


def column_statistics(
    X: HostArray, chunk_rows: int | None = None, *, numbers: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return each column's mean and standard deviation.

    Standardisation is then `(X - mean) / standard_deviation`. The standard deviation is that of
    the population, `sqrt(sum_i (x_i - mean)^2 / rows)`.

    The rows are visited in chunks, so a memory-mapped array is never loaded whole. Each chunk's
    count, mean and sum of squared deviations `M` are merged into the running ones by [1]_

        delta = mean_b - mean_a
        mean  = mean_a + delta * n_b / (n_a + n_b)
        M     = M_a + M_b + delta^2 * n_a * n_b / (n_a + n_b)

    on values from which the first row is subtracted. The subtraction makes the deviations of a
    constant column exactly zero, whatever its value.

    Parameters
    ----------
    X : array of shape (rows, columns)
        Booleans, integers or floating-point numbers, all finite, with at least one row.
    chunk_rows : int, optional
        Rows converted to float64 at a time. By default as many as fill 8 MiB, at least one.
    numbers : int64 array, optional
        The rows to look at, at least one. By default all.

    Returns
    -------
    mean : float64 array of shape (columns,)
    standard_deviation : float64 array of shape (columns,)
        **1 for a constant column**, so that standardising turns it into zeros. Such columns are
        named in a warning (logger "gpunn").

    Raises
    ------
    DataError
        If `X` is not a numeric matrix with at least one row, or a column holds NaN, infinity or
        values too large, or differences too small, to be squared in float64.
    ArgumentError
        If `chunk_rows` is less than 1.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance:
       analysis and recommendations", The American Statistician 37(3), 1983, equation 2.1.
    """
    X = np.asanyarray(X)
    if X.ndim != 2 or X.shape[0] == 0:
        raise DataError(
            f"X: expected a matrix (rows, columns) with at least one row, got shape {X.shape}"
        )
    if X.dtype.kind not in "biuf":
        raise DataError(f"X: expected real numbers, got dtype {X.dtype}")
    columns = X.shape[1]
    rows = X.shape[0] if numbers is None else len(numbers)
    if chunk_rows is None:
        chunk_rows = max(1, _CHUNK_ITEMS // max(1, columns))
    elif chunk_rows < 1:
        raise ArgumentError(f"chunk_rows: expected at least 1, got {chunk_rows}")

    def part(start: int, stop: int) -> np.ndarray:
        chosen = slice(start, stop) if numbers is None else numbers[start:stop]
        found = rows_of(X, chosen).astype(np.float64)
        release(X)
        return found

    origin = part(0, 1)[0]
    varies = np.zeros(columns, dtype=bool)
    mean = np.zeros(columns)
    squares = np.zeros(columns)
    # NaN, infinity and overflow are reported below, with the column's number.
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, rows, chunk_rows):
            chunk = part(start, start + chunk_rows)
            chunk -= origin
            varies |= chunk.any(axis=0)
            total = start + len(chunk)
            chunk_mean = chunk.mean(axis=0)
            chunk -= chunk_mean
            delta = chunk_mean - mean
            mean += delta * (len(chunk) / total)
            chunk *= chunk
            squares += chunk.sum(axis=0)
            squares += delta * delta * (start * len(chunk) / total)
        mean += origin
        deviation = np.sqrt(squares / rows)

    bad = ~(np.isfinite(mean) & np.isfinite(deviation))
    if bad.any():
        raise DataError(
            f"X: {int(bad.sum())} of {columns} columns hold NaN, infinity or values too large to "
            f"square; the first is column {int(bad.argmax())}; remove or replace those values"
        )
    lost = varies & (deviation == 0)
    if lost.any():
        raise DataError(
            f"X: column {int(lost.argmax())} has differences too small to square; rescale it"
        )
    constant = np.flatnonzero(~varies)
    if constant.size and rows > 1:
        shown = ", ".join(map(str, constant[:5])) + (", ..." if constant.size > 5 else "")
        LOG.warning(
            "X: %d of %d columns are constant and tell nothing (%s, counted from 0)",
            constant.size,
            columns,
            shown,
        )
    deviation[deviation == 0] = 1
    return mean, deviation


def split_rows(
    rows: int, fraction: float, seed: int, labels: HostArray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split the row numbers `0 .. rows-1` at random into a kept and a held-out part.

    The held-out part has `ceil(fraction * rows)` rows. With `labels`, it is stratified: class `c`
    gives `fraction` of its rows, rounded down or up so that the total is met, the largest
    remainders being rounded up.

    Parameters
    ----------
    rows : int
        Number of rows to split.
    fraction : float
        Share of the rows that is held out, between 0 and 1, both excluded.
    seed : int
        Seed of the random choice, at least 0.
    labels : array of shape (rows,), optional
        Class of each row, as integers or strings.

    Returns
    -------
    kept, held_out : int64 arrays
        Row numbers in ascending order; together each row once.

    Raises
    ------
    ArgumentError
        If `fraction` is not between 0 and 1, leaves a part empty, or `seed` is negative.
    ArgumentTypeError
        If `rows` or `seed` is not an integer.
    DataError
        If `labels` has not one entry a row, or a class has only one row, which can't be in both
        parts.

    Examples
    --------
    >>> kept, held_out = split_rows(5, 0.4, seed=0)
    >>> len(kept), len(held_out)
    (3, 2)
    """
    rows, seed = _integer("rows", rows), _integer("seed", seed)
    if seed < 0:
        raise ArgumentError(f"seed: expected at least 0, got {seed}")
    if not 0 < fraction < 1:
        raise ArgumentError(f"fraction: expected more than 0 and less than 1, got {fraction!r}")
    # The inner rounding takes off the representation error of products such as 0.1 * 30.
    held = math.ceil(round(fraction * rows, 6))
    if not 0 < held < rows:
        raise ArgumentError(
            f"fraction: {fraction!r} of {rows} rows leaves {rows - held} and {held} rows; "
            "both parts need at least one"
        )

    random = generator(seed, "split")
    if labels is None:
        chosen = random.permutation(rows)[:held]
    else:
        groups = _rows_by_class(labels, rows)
        quotas = _apportion(np.array([len(group) for group in groups]), held)
        chosen = np.concatenate(
            [random.permutation(group)[:quota] for group, quota in zip(groups, quotas, strict=True)]
        )
    is_held = np.zeros(rows, dtype=bool)
    is_held[chosen] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _integer(name: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(f"{name}: expected an integer, got {value!r}") from None


def _rows_by_class(labels: HostArray, rows: int) -> list[np.ndarray]:
    labels = np.asarray(labels)
    if labels.shape != (rows,):
        raise DataError(f"labels: expected shape ({rows},), got {labels.shape}")
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        rare = classes[counts.argmin()].item()
        raise DataError(
            f"labels: class {rare!r} has only one row, which can't be in both parts; "
            "remove it or split without labels"
        )
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])


def _apportion(counts: np.ndarray, total: int) -> np.ndarray:
    """Divide `total` among classes in proportion to `counts` (largest-remainder method)."""
    quotas, remainders = np.divmod(counts * total, counts.sum())
    largest = np.argsort(-remainders, kind="stable")[: total - quotas.sum()]
    quotas[largest] += 1
    return quotas
