"""How much memory a file may ask for."""

from __future__ import annotations

from gpunn.errors import DataFileError

__all__ = ["EXPANSION", "FREE_BYTES", "check_expansion"]

EXPANSION = 200
"""Bytes that a compressed byte may become. Images become 2 to 20; deflate's limit is 1032, which
only long runs of one byte reach."""

FREE_BYTES = 2**24
"""So many bytes are never too many, however small their file."""


def check_expansion(place: str, compressed: int, expanded: int) -> None:
    """Raise a DataFileError if compressed data announces more bytes than a file may ask for.

    Parameters
    ----------
    place : str
        The file, for the error message.
    compressed, expanded : int
        Bytes there are, and bytes that they claim to become.
    """
    if expanded > max(FREE_BYTES, EXPANSION * compressed):
        announced = f"{expanded:,}" if expanded < 2**63 else "2**63 or more"
        raise DataFileError(
            f"{place}: {compressed:,} compressed bytes announce {announced}, more than {EXPANSION} "
            "times as many; if you trust the file, store it uncompressed"
        )
