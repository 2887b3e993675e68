"""Limits of decompression, against small files that fill the memory."""

from __future__ import annotations

from gpunn.errors import DataFileError

__all__ = ["EXPANSION", "FREE_BYTES", "check_expansion"]

EXPANSION = 200
"""Largest ratio of decompressed to compressed bytes. Images have 2 to 20; the limit of deflate is
1032, which only long runs of one byte reach."""

FREE_BYTES = 2**24
"""Decompressed bytes that are always allowed, whatever the ratio."""


def check_expansion(place: str, compressed: int, expanded: int) -> None:
    """Raise a DataFileError if compressed data would, as it announces, become too many bytes."""
    if expanded > max(FREE_BYTES, EXPANSION * compressed):
        announced = f"{expanded:,}" if expanded < 2**63 else "2**63 or more"
        raise DataFileError(
            f"{place}: {compressed:,} compressed bytes announce {announced}, more than {EXPANSION} "
            "times as many; if you trust the file, store it uncompressed"
        )
