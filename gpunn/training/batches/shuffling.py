"""Shuffling: the order in which an epoch visits the training rows."""

from __future__ import annotations

import numpy as np

from gpunn.randomness import permutation, permutations


def shuffled_order(seed: int, epoch: int, rows: int, members: int = 1) -> np.ndarray:
    """Return the order of an epoch's rows, which depends only on seed and epoch.

    For several members with separate orders, the result has rows * members entries, row by row.
    """
    if members > 1:
        return permutations(seed, epoch, rows, members).reshape(-1)
    return permutation(seed, epoch, rows)
