"""Check and convert inputs of the estimators: arrays, sparse matrices, sample weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from numbers import Number
from types import FunctionType
from typing import Any

import array_api_compat
import numpy as np
from sklearn import get_config
from sklearn.utils import check_array

from gpunn.backends import Backend
from gpunn.data.batches import STREAM_BYTES, Dataset
from gpunn.data.checks import check_finite, check_weights
from gpunn.errors import ArgumentTypeError

FLOATS = {np.dtype(name): name for name in ("float32", "float64")}


def is_foreign(array: Any) -> bool:
    return bool(
        get_config()["array_api_dispatch"]
        and array_api_compat.is_array_api_obj(array)
        and not array_api_compat.is_numpy_array(array)
    )


def to_host(array: Any) -> Any:
    if isinstance(array, Iterator | FunctionType):
        raise ArgumentTypeError(
            f"X: expected all rows in one array or table; got {type(array).__name__}. To pass "
            "batches, use partial_fit of MLPClassifier and MLPRegressor, or gpunn.Trainer.fit"
        )
    if not is_foreign(array):
        return array
    return np.array(np.from_dlpack(array, device="cpu"))


def is_checked(X: Any, y: np.ndarray | None = None) -> bool:
    """Return whether X is a matrix of finite floats that scikit-learn's checks do not change."""
    if type(X) is not np.ndarray or X.ndim != 2 or X.dtype not in FLOATS or not X.size:
        return False
    arrays = [X]
    if y is not None:
        if type(y) is not np.ndarray or y.shape != X.shape[:1] or y.dtype.kind not in "biuf":
            return False
        arrays.append(y)
    with np.errstate(over="ignore", invalid="ignore"):
        return all(math.isfinite(np.add.reduce(array, axis=None)) for array in arrays)


def name_of(dtype: np.dtype) -> str:
    return FLOATS.get(dtype) or dtype.name  # NumPy's own look-up takes long


def to_library_of(array: Any) -> Callable[[np.ndarray], Any]:
    if not is_foreign(array):
        return lambda result: result
    xp, device = array_api_compat.array_namespace(array), array_api_compat.device(array)

    def convert(result: np.ndarray) -> Any:
        return xp.asarray(result, device=device) if result.dtype.kind in "buif" else result

    return convert


def library_of(array: Any) -> tuple[str, str]:
    if not is_foreign(array):
        return "numpy", "cpu"
    xp = array_api_compat.array_namespace(array)
    return xp.__name__.removeprefix("array_api_compat."), str(array_api_compat.device(array))


def check_same_library(estimator: Any, X: Any, method: str) -> None:
    fitted = getattr(estimator, "_fitted_in", None)  # None in a pickle of an earlier release
    if not get_config()["array_api_dispatch"] or fitted is None:
        return
    actual = library_of(X)
    if actual != fitted:
        raise ValueError(
            f"Inputs passed to {type(estimator).__name__}.{method}() must use the same namespace "
            f"and the same device as those passed to fit(): expected arrays of {fitted[0]} on "
            f"{fitted[1]!r}; got {actual[0]} on {actual[1]!r}. Convert X, fit again, or turn "
            "array_api_dispatch off to predict from host arrays"
        )


class SparseRows:
    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix.tocsr()
        self.shape, self.dtype = matrix.shape, matrix.dtype

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        rows: np.ndarray = self._matrix[chosen].toarray()
        return rows


def dataset_of(
    backend: Backend, X: Any, targets: np.ndarray, weights: np.ndarray | None, dtype: str
) -> Dataset:
    stream = None
    if hasattr(X, "toarray"):
        if np.prod(X.shape) * np.dtype(dtype).itemsize > STREAM_BYTES:
            X, stream = SparseRows(X), True
        else:
            X = X.toarray()
    if not stream and X.dtype.itemsize > np.dtype(dtype).itemsize:
        check_finite(X, "X", dtype)
    return Dataset(backend, X, targets, weights, (dtype, dtype), stream)


def checked_weights(
    sample_weight: Any, rows: int, dtype: str, argument: str = "sample_weight"
) -> np.ndarray | None:
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Number):
        sample_weight = np.full(rows, sample_weight)
    weights = check_array(
        to_host(sample_weight), dtype=np.float64, ensure_2d=False, input_name=argument
    )
    title = "Sample weights" if argument == "sample_weight" else argument
    if weights.ndim != 1:
        raise ValueError(
            f"{title} must be 1D array or scalar, got {weights.ndim}D array. Expected either a "
            f"scalar value or a 1D array of length {rows}."
        )
    if weights.shape != (rows,):
        raise ValueError(f"{argument}.shape == {weights.shape}, expected {(rows,)}!")
    if not weights.any():
        raise ValueError(f"{title} must contain at least one non-zero number.")
    return check_weights(weights, rows, argument, dtype)
