"""Inputs and targets of the estimators for tables: rows with text and gaps, and classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from gpunn.data.preprocessing import split_rows
from gpunn.errors import DataError
from gpunn.sklearn.inputs import to_host
from gpunn.tables import Table, table_of
from gpunn.tables.table import is_missing

__all__ = ["checked_classes", "checked_numbers", "checked_table", "split"]


def checked_table(estimator: Any, X: Any, *, first: bool, argument: str = "X") -> Table:
    """Return rows as a table, and check their columns by scikit-learn's rules.

    Parameters
    ----------
    estimator : BaseEstimator
        With `first` it gets `n_features_in_` and, if columns have names, `feature_names_in_`;
        without, they must be the same, in the same order.
    X : data frame, array, dict or list
        As `gpunn.tables.table_of` takes it.
    argument : str
        What messages call it.

    Raises
    ------
    ValueError, TypeError
        If it is no table, has no rows or columns, or other columns.
    """
    X = to_host(X)
    if is_array(X):
        X = check_array(
            X, dtype=None, ensure_all_finite=False, estimator=estimator, input_name=argument
        )
    table = table_of(X, argument)
    if not table.rows or not table.names:
        raise DataError(f"{argument}: expected at least one row and one column; got none")
    if hasattr(X, "shape") and len(X.shape) == 2:
        validate_data(estimator, X, skip_check_array=True, reset=first)
    elif first:
        estimator.n_features_in_ = len(table.names)
        estimator.feature_names_in_ = np.array(table.names, dtype=object)
    return table


def is_array(X: Any) -> bool:
    """Return whether this is an array, or a list of rows, whose columns have no names."""
    if isinstance(X, (list, tuple)):
        return not (X and all(isinstance(row, Mapping) for row in X))
    if isinstance(X, (Table, Mapping)) or hasattr(X, "columns") or hasattr(X, "column_names"):
        return False
    return getattr(getattr(X, "dtype", None), "names", None) is None


def checked_classes(y: Any, argument: str = "y") -> np.ndarray:
    """Return the class of each row, shape (rows,).

    Raises
    ------
    ValueError
        If they are no classes, or a row has none.
    """
    labels: np.ndarray = column_or_1d(to_host(y), warn=True)
    if labels.dtype.kind in "Of":
        check_gaps(np.array([is_missing(label) for label in labels]), argument)
    check_classification_targets(labels)
    return labels


def checked_numbers(y: Any, argument: str = "y") -> np.ndarray:
    """Return real targets as float64, of shape (rows,), or (rows, outputs) if there are several.

    Raises
    ------
    ValueError
        If they are no finite numbers, or a row has none.
    """
    y = np.asarray(to_host(y))
    if y.dtype.kind in "fO" and y.ndim in (1, 2):
        try:
            numbers = y.astype(np.float64)
        except (TypeError, ValueError):
            numbers = np.zeros(len(y))  # `check_array` says what is wrong
        check_gaps(np.isnan(numbers).reshape(len(y), -1).any(axis=1), argument)
    targets: np.ndarray = check_array(y, dtype=np.float64, ensure_2d=False, input_name=argument)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = column_or_1d(targets, warn=True)
    return targets


def check_gaps(gaps: np.ndarray, argument: str) -> None:
    """Raise a DataError if a row has no target."""
    if gaps.any():
        rows = np.flatnonzero(gaps)
        raise DataError(
            f"{argument}: row {rows[0]} has no target (it is NaN or None; {len(rows)} such in "
            "all). Leave out such rows"
        )


def split(
    rows: int, fraction: float, seed: int, labels: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the rows to train on, and of those to validate on.

    Classes are split in their proportions; one that has a single row is trained on.
    """
    others = np.arange(rows)
    if labels is not None:
        others = others[np.bincount(labels)[labels] > 1]
    if len(others) < 2:
        raise DataError(
            f"X: n_samples={rows} is too few to set aside rows to validate on; give X_val and y_val"
        )
    chosen = None if labels is None else labels[others]
    _, held = split_rows(len(others), fraction, seed, chosen)
    held = others[held]
    return np.setdiff1d(np.arange(rows), held, assume_unique=True), held
