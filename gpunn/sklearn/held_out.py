"""Hold out validation rows in estimators: whole groups, or the latest rows."""

import warnings
from typing import Any

import numpy as np

from gpunn.data.splits import split_groups, split_times
from gpunn.errors import ArgumentError, DataError, GpunnWarning
from gpunn.forks import IMPORTING
from gpunn.meaning import plural
from gpunn.sklearn.inputs import to_host

SplitBy = tuple[str, np.ndarray] | None
"""How to hold out rows: ("group", each row's group), ("time", each row's time), or None."""


def checked_split_by(groups: Any, times: Any, has_validation: bool) -> SplitBy:
    passed = [each for each in ((groups, "group"), (times, "time")) if each[0] is not None]
    if not passed:
        return None
    if len(passed) == 2:
        raise ArgumentError("groups: cannot be combined with times; pass only one of them")
    (values, kind), argument = passed[0], f"{passed[0][1]}s"
    if has_validation:
        raise ArgumentError(
            f"{argument}: cannot be combined with X_val, since both select the validation rows; "
            "pass only one of them"
        )
    values = to_host(values)
    if np.ndim(values) != 1:
        raise DataError(
            f"{argument}: expected shape (rows,), one value for each row; got shape "
            f"{np.shape(values)}"
        )
    # Imported here, since MLPClassifier and MLPRegressor otherwise need no tables.
    with IMPORTING:
        from gpunn.rows.cells import Markers
        from gpunn.tables import table_of
        from gpunn.tables.splitting import split_values

    table = table_of({argument: values}, "fit")
    return kind, split_values(table, kind, argument, Markers.of())


def split_rows_by(
    split_by: tuple[str, np.ndarray],
    rows: int,
    fraction: float,
    seed: int,
    labels: np.ndarray | None,
    weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    kind, values = split_by
    if len(values) != rows:
        raise DataError(f"{kind}s: expected one value for each of {rows} rows; got {len(values)}")
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
            f"{kind}s: y has {plural(len(unlearned), 'class')} without training rows; all rows of "
            "such classes are held out for validation",
            GpunnWarning,
            stacklevel=2,
        )
    if weights is not None:
        for chosen, part in ((kept, "training"), (held, "validation")):
            if not weights[chosen].any():
                raise DataError(
                    f"sample_weight: all {part} rows have a weight of zero; give more rows a "
                    "weight above zero"
                )
    return kept, held
