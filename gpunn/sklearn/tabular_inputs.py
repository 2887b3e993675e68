"""Check inputs and targets of the tabular estimators: raw rows, and classes or numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from gpunn.data.checks import check_finite
from gpunn.data.splits import split_rows
from gpunn.errors import ArgumentError, DataError
from gpunn.meaning import plural
from gpunn.rows.cells import Markers
from gpunn.rows.csv_rows import missing_columns
from gpunn.sklearn.inputs import checked_weights, to_host
from gpunn.tables import Table, table_of
from gpunn.tables.cells import numbers_of
from gpunn.tables.remarks import is_marker
from gpunn.tables.table import Coded, dictionary_encoded


def checked_table(estimator: Any, X: Any, *, first: bool, argument: str = "X") -> Table:
    # With `first`, set the estimator's `n_features_in_` and `feature_names_in_`; otherwise, the
    # columns must be the same as in `fit`, in the same order.
    X = to_host(X)
    if is_array(X):
        checked = check_array(
            X, dtype=None, ensure_all_finite=False, estimator=estimator, input_name=argument
        )
        masked = isinstance(X, np.ma.MaskedArray)  # since check_array drops the mask
        X = np.ma.masked_array(checked, np.ma.getmask(X)) if masked else checked
    table = table_of(X, argument)
    if not table.rows or not table.names:
        raise DataError(
            f"{argument}: expected at least one row and one column; got {table.rows} rows and "
            f"{len(table.names)} columns"
        )
    names = getattr(estimator, "feature_names_in_", None)
    if not first and table.named and names is not None and table.names == tuple(names):
        return table  # scikit-learn would spend a tenth of a millisecond on the names
    if hasattr(X, "shape") and len(X.shape) == 2:
        try:
            validate_data(estimator, X, skip_check_array=True, reset=first)
        except ValueError as error:
            names = [] if first else getattr(estimator, "feature_names_in_", [])
            missing = [name for name in names if name not in table]
            if not missing or not table.named:
                raise
            hint = missing_columns(missing, table.names)
            raise DataError(f"{str(error).rstrip()}\n{argument}: {hint}") from None
    elif first:
        estimator.n_features_in_ = len(table.names)
        estimator.feature_names_in_ = np.array(table.names, dtype=object)
    return table


def is_array(X: Any) -> bool:
    if isinstance(X, (list, tuple)):
        return not (X and all(isinstance(row, Mapping) for row in X))
    if isinstance(X, (Table, Mapping)) or hasattr(X, "columns") or hasattr(X, "column_names"):
        return False
    return getattr(getattr(X, "dtype", None), "names", None) is None


def checked_classes(y: Any, markers: Markers, argument: str = "y") -> np.ndarray:
    y = to_host(y)
    check_masked(y, argument)
    check_not_empty(y, argument)
    labels: np.ndarray = column_or_1d(without_missing(y), warn=True)
    if labels.dtype.kind in "OUT":
        # NumPy converts a list with numbers and text to text.
        values = np.array(y, object) if isinstance(y, (list, tuple)) else labels
        cells = coded_targets(values, argument)
        check_missing(missing_cells(cells, markers), argument)
        check_one_type(cells, argument)
        check_no_objects(cells.values, argument)
    elif labels.dtype.kind == "f":
        check_finite_targets(labels, argument)
    check_classification_targets(labels)
    return labels


def check_not_empty(y: Any, argument: str) -> None:
    shape = shape_of(y)
    if not all(shape):
        raise DataError(f"{argument}: expected a target for each row; got shape {shape}")


def shape_of(y: Any) -> tuple[int, ...]:
    # `np.shape` refuses some objects that NumPy can convert.
    return tuple(y.shape if hasattr(y, "shape") else np.asarray(y).shape)


def has_several(y: Any) -> bool:
    shape = shape_of(to_host(y))
    return len(shape) == 2 and shape[1] > 1


def checked_labels(y: Any, markers: Markers, argument: str = "y") -> np.ndarray:
    y = to_host(y)
    check_masked(y, argument)
    y = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    if y.dtype.kind in "OUT":
        missing = missing_cells(coded_targets(y, argument), markers)
        check_missing(np.asarray(missing.reshape(len(y), -1).any(axis=1)), argument)
    elif y.dtype.kind == "f":
        check_finite_targets(y, argument)
    labels = np.asarray((y == 0) | (y == 1))
    if not labels.all():
        row, label = np.argwhere(~labels)[0]
        raise DataError(
            f"{argument}: if there are several columns, each is a label and must contain only 0 "
            f"and 1; row {row} has {y.tolist()[row][label]!r:.40} in column {label}. For one class "
            "per row, pass one column; for numbers, use a regressor"
        )
    return np.asarray(y, dtype=np.int64)


def without_missing(y: Any) -> Any:
    # scikit-learn would convert a nullable pandas column of integers or Booleans to floats.
    dtype = getattr(y, "dtype", None)
    if isinstance(dtype, np.dtype) or getattr(dtype, "kind", "") not in ("b", "i", "u"):
        return y
    return y if y.isna().any() else np.array(y.tolist())


def checked_numbers(y: Any, markers: Markers, argument: str = "y") -> np.ndarray:
    y = to_host(y)
    check_masked(y, argument)
    check_not_empty(y, argument)
    y = np.asarray(y)
    if y.dtype.kind in "OUT" and y.ndim in (1, 2) and y.size:
        cells = coded_targets(y, argument)
        numbers, others = numbers_of(cells, markers)
        if others:
            position = int(np.isin(cells.codes, others).argmax())
            raise DataError(
                f"{argument}: row {position // (y.size // len(y))}: expected a number; got "
                f"{cells.values[cells.codes[position]]!r:.80}"
            )
        y = numbers.reshape(y.shape)
    if y.dtype.kind in "mM":
        raise DataError(f"{argument}: expected numbers; got dates or durations (dtype {y.dtype})")
    if y.dtype.kind == "f" and y.ndim in (1, 2):
        check_finite_targets(y, argument)
    targets: np.ndarray = check_array(y, dtype=np.float64, ensure_2d=False, input_name=argument)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = column_or_1d(targets, warn=True)
    return targets


def checked_row_weights(
    sample_weight: Any, rows: int, dtype: str, argument: str
) -> np.ndarray | None:
    weights = np.asarray(to_host(sample_weight))
    if weights.ndim == 1:
        check_finite(weights, argument, dtype)
    return checked_weights(sample_weight, rows, dtype, argument)


def coded_targets(y: np.ndarray, argument: str) -> Coded:
    width = max(1, y.size // max(1, len(y)))
    return dictionary_encoded(y.ravel().tolist(), lambda cell: f"{argument}: row {cell // width}")


def missing_cells(cells: Coded, markers: Markers) -> np.ndarray:
    are_missing = np.array([is_marker(value, markers) for value in cells.values], dtype=bool)
    return np.asarray(cells.take(are_missing, True))


def check_missing(missing: np.ndarray, argument: str) -> None:
    if missing.any():
        rows = np.flatnonzero(missing)
        raise DataError(
            f"{argument}: row {rows[0]} has no target (None, NaN or a string such as 'NA'); "
            f"{plural(len(rows), 'row')} in total. Remove such rows"
        )


def check_masked(y: Any, argument: str) -> None:
    if isinstance(y, np.ma.MaskedArray) and y.ndim:
        mask = np.asarray(np.ma.getmaskarray(y).reshape(len(y), -1))
        check_missing(np.asarray(mask.any(axis=1)), argument)


def check_finite_targets(y: np.ndarray, argument: str) -> None:
    missing = np.isnan(y)
    check_missing(missing if y.ndim == 1 else missing.any(axis=1), argument)
    infinite = np.argwhere(np.isinf(y))
    if len(infinite):
        index = tuple(infinite[0])
        raise DataError(f"{argument}: row {index[0]}: expected a finite number; got {y[index]}")


def check_one_type(cells: Coded, argument: str) -> None:
    are_text = [isinstance(value, str) for value in cells.values]
    if len(set(are_text)) == 2:
        other, text = are_text.index(False), are_text.index(True)
        raise DataError(
            f"{argument}: classes mix strings and other types: row {cells.first_row(text)} has "
            f"{cells.values[text]!r:.40}, and row {cells.first_row(other)} has "
            f"{cells.values[other]!r:.40}; convert all classes to strings"
        )


def check_no_objects(classes: Sequence[Any], argument: str) -> None:
    # scikit-learn's metrics don't support objects, so `score` would fail after training. Its checks
    # expect the words "Unknown label type".
    if not classes or isinstance(classes[0], str):
        return
    dtype = np.array(classes).dtype
    if dtype.kind in "biuf":
        raise DataError(
            f"{argument}: Unknown label type: numbers or Booleans in an array of dtype object; "
            f"convert it by .astype({dtype.name!r})"
        )
    raise DataError(
        f"{argument}: Unknown label type: expected strings, numbers or Booleans; got "
        f"{classes[0]!r:.40}"
    )


TOO_FEW = 2
"""This many rows, or fewer, can't be divided into training and validation rows."""


def split(
    rows: int, fraction: float, seed: int, labels: np.ndarray | None, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    # The split is stratified by class. Rows with a weight of 0, and a class with a single row, are
    # not held out.
    others = np.arange(rows) if weights is None else np.flatnonzero(weights)
    counted = len(others)
    if labels is not None:
        others = others[np.bincount(labels[others])[labels[others]] > 1]
        if not len(others) and counted > TOO_FEW:
            raise DataError(
                "y: every row has a different class, so no rows can be held out for validation; "
                "if y contains numbers, use a regressor; otherwise add rows of the same classes"
            )
    if len(others) < 2:
        unweighted = "" if counted == rows else f", of which {counted} have a weight above 0"
        raise DataError(
            f"X: too few rows to hold out validation rows (n_samples={rows}{unweighted}); pass "
            "X_val and y_val"
        )
    chosen = None if labels is None else labels[others]
    with ArgumentError.instead_of(ArgumentError, prefix="validation_"):
        _, held = split_rows(len(others), fraction, seed, chosen)
    held = others[held]
    return np.setdiff1d(np.arange(rows), held, assume_unique=True), held
