"""Checks of data on the host, which run once and keep invalid data away from the device."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunn.data.frames import non_numeric_columns, numbers_of
from gpunn.data.memory_maps import check_whole, release
from gpunn.errors import DataError
from gpunn.typing import HostArray, Shape

CHECK_BYTES = 1 << 20
"""An array is checked in parts of this many bytes, to limit the memory for a memory map."""


def to_numpy(array: HostArray, argument: str) -> np.ndarray:
    # Raises a DataError if the array is on a GPU, sparse, masked or ragged, or holds Python
    # objects. The error is also raised if the array is a memory map whose file was truncated.
    if isinstance(array, np.memmap):
        check_whole(array)
        return array
    name = type(array).__name__
    if is_masked(array):
        raise DataError(f"{argument}: got a masked array; fill in masked values with .filled()")
    try:
        host = np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        check_equal_shapes(array, argument)
        raise DataError(
            f"{argument}: expected an array on the host; got {name}, which NumPy can't convert "
            f"({error}). If the array is on a GPU, first copy it to the host, in CuPy with .get()"
        ) from None
    if host.dtype == object:
        if (numbers := numbers_of(array)) is not None:
            return numbers
        check_equal_shapes(array, argument)
        hint = (
            "convert it to a dense array with .toarray()"
            if hasattr(array, "toarray")
            else "convert numbers with .astype(float), class names with numpy.unique(..., "
            "return_inverse=True), and tables with a gpunn.tables.Schema"
        )
        odd = non_numeric_columns(array)
        source = f"columns {', '.join(odd[:5])}" if odd else name
        raise DataError(f"{argument}: expected numbers; got Python objects ({source}); {hint}")
    return host


def is_masked(array: object) -> bool:
    # Does not use `np.ma`, whose first use imports a module, while other threads may fork.
    return isinstance(array, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ()))


def check_equal_shapes(rows: Any, argument: str) -> None:
    if isinstance(rows, list | tuple | np.ndarray):
        shapes = sorted({row.shape for row in rows if isinstance(row, np.ndarray)})
        if len(shapes) > 1:
            raise DataError(
                f"{argument}: expected rows of the same shape; got {shapes[0]} and {shapes[-1]}. "
                "Resize images, for example with gpunn.data.load_images"
            )


def check_inputs(
    X: HostArray,
    input_shape: Shape,
    argument: str = "X",
    dtype: str = "float32",
    order: list[int] | None = None,
) -> np.ndarray:
    host = to_numpy(X, argument)
    if host.dtype.kind not in "buif":
        where = f" in column {', column '.join(odd[:5])}" if (odd := non_numeric_columns(X)) else ""
        hint = "; convert numbers with .astype(float)" if host.dtype.kind in "SUT" else ""
        raise DataError(f"{argument}: expected real numbers; got dtype {host.dtype}{where}{hint}")
    if order is not None:
        host = host[:, order]
    if host.ndim == 0 or host.shape[1:] != input_shape:
        wanted = ", ".join(("rows", *(str(size) for size in input_shape)))
        raise DataError(
            f"{argument}: this network expects shape ({wanted}); got {host.shape}"
            f"{remedy(host.shape, input_shape, argument)}"
        )
    check_finite(host, argument, dtype)
    return host


def remedy(shape: Shape, input_shape: Shape, argument: str) -> str:
    if shape == input_shape:
        return f"; for a single row use {argument}[None]"
    if (*shape[1:], 1) == input_shape and len(shape) > 1:
        return f"; add an axis for the channel: {argument}[..., None]"
    if len(shape) > 2 and (*shape[2:], shape[1]) == input_shape:
        return f"; move the channels to the end: numpy.moveaxis({argument}, 1, -1)"
    if len(input_shape) > 1 and shape[1:] == (math.prod(input_shape),):
        return f"; reshape the rows: {argument}.reshape(-1, {', '.join(map(str, input_shape))})"
    return ""


def check_finite(array: np.ndarray, argument: str, dtype: str = "float32") -> None:
    if array.dtype.kind != "f" or array.size == 0:
        return
    step = max(1, CHECK_BYTES // max(1, array[0].nbytes))
    for start in range(0, array.shape[0], step):
        check_whole(array)
        chunk = array[start : start + step]
        fits = np.isfinite(chunk)
        if array.dtype.itemsize > np.dtype(dtype).itemsize:
            fits &= np.abs(chunk) <= np.finfo(dtype).max
        if not fits.all():
            first = np.argwhere(~fits)[0]
            index = (int(first[0]) + start, *(int(i) for i in first[1:]))
            name = argument.rpartition(": ")[2]  # `argument` may begin with a file's name
            actual = f"{name}[{', '.join(map(str, index))}] is {array[index]}"
            if np.isfinite(array[index]):
                raise DataError(f"{argument}: is too large for {dtype}: {actual}; scale the data")
            raise DataError(
                f"{argument}: expected finite numbers; {actual}. Remove such rows or replace the "
                "values, for example with numpy.nan_to_num"
            )
        release(array)


def check_rows(rows: int, others: Mapping[str, np.ndarray], argument: str = "X") -> None:
    for name, array in others.items():
        if array.ndim == 0 or array.shape[0] != rows:
            actual = array.shape[0] if array.ndim else "a single number"
            raise DataError(f"{name}: expected {rows} rows, as many as {argument}; got {actual}")


def check_weights(
    weights: HostArray,
    rows: int,
    argument: str = "sample_weight",
    dtype: str = "float32",
    *,
    part: bool = False,
) -> np.ndarray:
    # Weights must be valid before and after conversion to `dtype`. With `part`, the rows are only a
    # batch, whose weights may all be zero; `check_largest_weight` must then check all batches.
    host = to_numpy(weights, argument)
    if host.dtype.kind not in "buif" or host.shape != (rows,):
        raise DataError(
            f"{argument}: expected {rows} numbers, one for each row; got shape {host.shape}, "
            f"dtype {host.dtype}"
        )
    check_finite(host, argument, dtype)
    if (host < 0).any():
        first = int(np.flatnonzero(host < 0)[0])
        raise DataError(f"{argument}: expected numbers >= 0; {argument}[{first}] is {host[first]}")
    checked = host.astype(np.float64)
    check_scale(checked, argument, dtype, part=part)
    return checked


def check_scale(weights: np.ndarray, argument: str, dtype: str, *, part: bool = False) -> None:
    if not part:
        check_largest_weight(float(weights.max()), argument, dtype)
    if weights.sum() > np.finfo(dtype).max:
        raise unfit_weights(argument, "the sum is too large", dtype)


def check_largest_weight(
    largest: float, argument: str = "sample_weight", dtype: str = "float32"
) -> None:
    if not largest:
        raise DataError(f"{argument}: all weights are zero, so there is nothing to learn from")
    if largest < float(np.finfo(dtype).tiny / np.finfo(dtype).eps):  # else products lose digits
        raise unfit_weights(argument, "all weights are too small", dtype)


def unfit_weights(argument: str, problem: str, dtype: str) -> DataError:
    return DataError(
        f"{argument}: {problem} for {dtype}; scale the weights, for example to a mean of 1"
    )
