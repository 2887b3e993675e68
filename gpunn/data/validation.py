"""Host-side checks of data, done once, so that bad input never reaches a device."""

from __future__ import annotations

import numpy as np

from gpunn.errors import DataError
from gpunn.typing import HostArray, Shape

__all__ = ["check_inputs", "check_rows", "check_weights"]

CHECK_BYTES = 1 << 23
"""Bytes looked at in one go, so that checking a memory map takes little memory."""


def to_numpy(array: HostArray, argument: str) -> np.ndarray:
    """Return `array` as a NumPy array without copying one."""
    try:
        host = np.asanyarray(array)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{argument}: expected an array on the host; got {type(array).__name__} ({error}). "
            "An array on a GPU must be copied over first, for CuPy with .get()"
        ) from None
    if host.dtype == object:
        raise DataError(f"{argument}: expected numbers; got an array of Python objects")
    return host


def check_inputs(X: HostArray, input_shape: Shape, argument: str = "X") -> np.ndarray:
    """Return network inputs as a host array.

    Raises
    ------
    DataError
        If the rows don't have the network's input shape, the type is not real, or a number is not
        finite; the message names the first such row.
    """
    host = to_numpy(X, argument)
    if host.dtype.kind not in "buif":
        raise DataError(f"{argument}: expected real numbers; got dtype {host.dtype}")
    if host.shape[1:] != input_shape or host.ndim == 0:
        wanted = ", ".join(("rows", *(str(size) for size in input_shape)))
        single = f"; for a single row use {argument}[None]" if host.shape == input_shape else ""
        raise DataError(
            f"{argument}: this network takes arrays of shape ({wanted}); got {host.shape}{single}"
        )
    check_finite(host, argument)
    return host


def check_finite(array: np.ndarray, argument: str) -> None:
    """Raise a DataError that names the first row with a number that is not finite."""
    if array.dtype.kind != "f" or array.size == 0:
        return
    step = max(1, CHECK_BYTES // max(1, array[0].nbytes))
    for start in range(0, array.shape[0], step):
        finite = np.isfinite(array[start : start + step])
        if not finite.all():
            place = np.argwhere(~finite)[0]
            index = (int(place[0]) + start, *(int(i) for i in place[1:]))
            raise DataError(
                f"{argument}: expected finite numbers; {argument}[{', '.join(map(str, index))}] "
                f"is {array[index]}. Remove such rows or fill them in, for example with "
                "numpy.nan_to_num"
            )
        release(array)


def release(array: np.ndarray) -> None:
    """Let the system take back the pages of a memory map that were read; a no-op otherwise."""
    import mmap

    base = getattr(array, "base", None)
    if isinstance(array, np.memmap) and isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


def check_rows(rows: int, others: dict[str, np.ndarray], argument: str = "X") -> None:
    """Raise unless every other array has as many rows."""
    for name, array in others.items():
        if array.ndim == 0 or array.shape[0] != rows:
            found = array.shape[0] if array.ndim else "no"
            raise DataError(f"{name}: expected {rows} rows, as many as {argument} has; got {found}")


def check_weights(weights: HostArray, rows: int, argument: str = "sample_weight") -> np.ndarray:
    """Return sample weights as a host array of shape (rows,): finite, >= 0, not all zero."""
    host = to_numpy(weights, argument)
    if host.dtype.kind not in "buif" or host.shape != (rows,):
        raise DataError(
            f"{argument}: expected {rows} numbers, one for each row; got shape {host.shape}, "
            f"dtype {host.dtype}"
        )
    check_finite(host, argument)
    if (host < 0).any():
        first = int(np.flatnonzero(host < 0)[0])
        raise DataError(f"{argument}: expected numbers >= 0; {argument}[{first}] is {host[first]}")
    if not host.any():
        raise DataError(f"{argument}: all weights are zero, so there is nothing to learn from")
    return host
