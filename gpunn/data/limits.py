"""Limits of decompression, against small files that fill the memory."""

from __future__ import annotations

from gpunn.errors import DataFileError
from gpunn.rows.lines import EXPANSION, FREE_BYTES

__all__ = ["check_expansion"]


def check_expansion(place: str, compressed: int, expanded: int) -> None:
    """Raise a DataFileError if compressed data would, as it announces, become too many bytes."""
    if expanded > max(FREE_BYTES, EXPANSION * compressed):
        announced = f"{expanded:,}" if expanded < 2**63 else "2**63 or more"
        raise DataFileError(
            f"{place}: {compressed:,} compressed bytes announce {announced}, more than {EXPANSION} "
            "times as many; if you trust the file, store it uncompressed"
        )
