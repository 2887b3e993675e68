"""Random numbers that depend only on a seed, a purpose and counters.

This module does not use the generators of the backends' libraries, since each library's generators
return different numbers. Initial weights and permutations are drawn on the host and copied to the
device. So a CPU and a GPU start from the same weights and visit the rows in the same order. Dropout
masks are too large to copy: `gpunn.backends.hashing` computes the masks with an integer hash that
is the same on every device.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.random  # otherwise NumPy would import it at its first use

__all__ = ["generator", "permutation", "permutations"]


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return the random generator of `(seed, purpose, *counters)`.

    Different tuples give statistically independent streams (`numpy.random.SeedSequence`).

    Parameters
    ----------
    seed : int
        The run's seed, at least 0.
    purpose : str
        The purpose, such as "weights" or "shuffle".
    *counters : int
        Position within the purpose, such as the index of a layer or an epoch. All calls with one
        purpose need the same number of counters: a missing counter would count as 0.

    Returns
    -------
    numpy.random.Generator
        A generator with the bit generator PCG64.

    Examples
    --------
    >>> from gpunn.randomness import generator
    >>> bool(generator(0, "shuffle", 1).random() == generator(0, "shuffle", 1).random())
    True
    """
    entropy: Any = seeds(seed, purpose, *counters)
    if 0 <= min(entropy) <= max(entropy) < 1 << 32:  # the same stream, in less time
        entropy = np.array(entropy, np.uint32)
    return np.random.Generator(np.random.PCG64(entropy))


def seeds(seed: int, purpose: str, *counters: int) -> tuple[int, ...]:
    return seed, zlib.crc32(purpose.encode()), *counters


def permutation(seed: int, epoch: int, rows: int) -> np.ndarray:
    """Return the order in which an epoch visits the rows.

    Parameters
    ----------
    seed : int
        The run's seed.
    epoch : int
        Number of the epoch.
    rows : int
        Number of rows.

    Returns
    -------
    ndarray of int64, shape (rows,)
        Row numbers.

    Examples
    --------
    >>> from gpunn.randomness import permutation
    >>> sorted(permutation(0, 1, rows=4).tolist())
    [0, 1, 2, 3]
    """
    return generator(seed, "shuffle", epoch).permutation(rows)


def permutations(seed: int, epoch: int, rows: int, members: int) -> np.ndarray:
    """Return the order in which each member of an ensemble visits the rows.

    Parameters
    ----------
    seed : int
        The run's seed.
    epoch : int
        Number of the epoch.
    rows : int
        Number of rows.
    members : int
        Number of members.

    Returns
    -------
    ndarray of int64, shape (rows, members)
        Row numbers; the first column is the result of `permutation`.

    Examples
    --------
    >>> from gpunn.randomness import permutation, permutations
    >>> orders = permutations(0, 1, rows=4, members=2)
    >>> orders.shape, bool((orders[:, 0] == permutation(0, 1, 4)).all())
    ((4, 2), True)
    """
    others = [
        generator(seed, "shuffle of a member", epoch, member).permutation(rows)
        for member in range(1, members)
    ]
    return np.stack([permutation(seed, epoch, rows), *others], axis=1)
