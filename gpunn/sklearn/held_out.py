"""Rows that estimators hold out to validate on: whole groups, or the latest ones."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from gpunn.data.splits import split_groups, split_times
from gpunn.errors import ArgumentError, DataError, GpunnWarning
from gpunn.forks import IMPORTING
from gpunn.sklearn.inputs import to_host

__all__ = ["Apart", "checked_apart", "split_apart"]

Apart = tuple[str, np.ndarray] | None
"""What keeps rows apart: "group" or "time", and the group or time of each row; or nothing."""


def checked_apart(groups: Any, times: Any, has_validation: bool) -> Apart:
    """Return what keeps rows apart when some are held out, from what users gave to `fit`."""
    given = [each for each in ((groups, "group"), (times, "time")) if each[0] is not None]
    if not given:
        return None
    if len(given) == 2:
        raise ArgumentError("groups: can't be given with times; give one of them")
    (values, kind), argument = given[0], f"{given[0][1]}s"
    if has_validation:
        raise ArgumentError(
            f"{argument}: can't be given with X_val; without X_val, they decide which rows are "
            "held out to validate on"
        )
    values = to_host(values)
    if np.ndim(values) != 1:
        raise DataError(
            f"{argument}: expected shape (rows,), one value for each row; got shape "
            f"{np.shape(values)}"
        )
    # Imported here, since the estimators for numbers need no tables otherwise.
    with IMPORTING:
        from gpunn.rows.cells import Markers
        from gpunn.tables import table_of
        from gpunn.tables.splitting import split_values

    table = table_of({argument: values}, "fit")
    return kind, split_values(table, kind, argument, Markers.of())


def split_apart(
    apart: tuple[str, np.ndarray],
    rows: int,
    fraction: float,
    seed: int,
    labels: np.ndarray | None,
    weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the rows to train on, and of those to validate on."""
    kind, values = apart
    if len(values) != rows:
        raise DataError(f"{kind}s: expected a value for each of the {rows} rows; got {len(values)}")
    try:
        if kind == "time":
            kept, held = split_times(values, fraction)
        else:
            kept, held = split_groups(values, fraction, seed, labels)
    except ArgumentError as error:
        raise ArgumentError(f"validation_{error}") from None
    except DataError as error:
        raise DataError(f"{kind}s: {error}") from None
    if labels is not None and len(unlearned := np.setdiff1d(labels, labels[kept])):
        warnings.warn(
            f"{kind}s: no row to train on has {len(unlearned)} of the classes of y; all such rows "
            "are held out to validate on",
            GpunnWarning,
            stacklevel=2,
        )
    if weights is not None:
        for chosen, part in ((kept, "train on"), (held, "validate on")):
            if not weights[chosen].any():
                raise DataError(f"sample_weight: all rows to {part} have a weight of zero")
    return kept, held
