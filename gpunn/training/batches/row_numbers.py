"""Training and validation rows, given by their numbers."""

from __future__ import annotations

import numpy as np

from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.typing import HostArray


def training_and_validation_rows(
    count: int, rows: HostArray | None, validation_rows: HostArray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the ascending numbers of the training rows, and of the validation rows or None.

    If `rows` is None, all rows are for training except the validation rows. Raise an ArgumentError
    if a number is not one of `count` rows, or occurs twice.
    """
    held = None if validation_rows is None else numbers("validation_rows", validation_rows, count)
    if rows is not None:
        kept = numbers("rows", rows, count)
    else:
        kept = np.setdiff1d(np.arange(count), [] if held is None else held)
        if not len(kept):
            raise ArgumentError("validation_rows: all rows of X; leave some rows for training")
    both = np.intersect1d(kept, [] if held is None else held)
    if len(both):
        raise ArgumentError(
            f"validation_rows: {len(both)} row numbers are also in rows, such as {both[0]}; remove "
            "them from one of the lists"
        )
    return kept, held


def numbers(name: str, given: HostArray, count: int) -> np.ndarray:
    """Return checked row numbers in ascending order."""
    found = np.asarray(given)
    if found.dtype == bool:
        raise ArgumentTypeError(
            f"{name}: expected row numbers; got Booleans. Use numpy.flatnonzero(mask)"
        )
    if found.ndim != 1 or not (found.dtype.kind in "iu" and len(found)):
        raise ArgumentTypeError(f"{name}: expected a list of row numbers; got {given!r:.80}")
    found = np.sort(found.astype(np.int64))
    if found[0] < 0 or found[-1] >= count:
        wrong = found[0] if found[0] < 0 else found[-1]
        raise ArgumentError(f"{name}: expected numbers from 0 to {count - 1}; got {wrong}")
    twice = found[1:][found[1:] == found[:-1]]
    if len(twice):
        raise ArgumentError(
            f"{name}: row {twice[0]} occurs more than once; give each row once, and use "
            "sample_weight to give a row more weight"
        )
    return found
