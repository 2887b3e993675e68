"""Random numbers that depend on nothing but a seed, a purpose and counters.

No backend's own generator decides anything. Initial weights and permutations are drawn here, on
the host, and copied to the device, so a CPU and a GPU start from and train on the same bits.
Dropout masks are the exception, being too large to copy: `gpunn.backends.base` computes them with
an integer hash that is the same everywhere.
"""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["generator", "permutation"]


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return the generator that belongs to `(seed, purpose, *counters)`.

    Two different tuples give statistically independent streams (`numpy.random.SeedSequence`), so
    drawing more numbers for one purpose never shifts those of another.

    Parameters
    ----------
    seed : int
        The run's seed, at least 0.
    purpose : str
        What the numbers are for, such as "weights" or "shuffle".
    *counters : int
        Position within the purpose, such as a layer's or an epoch's number; always as many for
        one purpose, since a stream without counters is also that of the counter 0.

    Examples
    --------
    >>> bool(generator(0, "shuffle", 1).random() == generator(0, "shuffle", 1).random())
    True
    """
    entropy = (seed, zlib.crc32(purpose.encode()), *counters)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def permutation(seed: int, epoch: int, rows: int) -> np.ndarray:
    """Return the order in which epoch number `epoch` visits `rows` rows, as int64."""
    return generator(seed, "shuffle", epoch).permutation(rows)
