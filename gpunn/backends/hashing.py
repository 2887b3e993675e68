"""The hash that dropout masks are made of, in 32-bit arithmetic.

`mix` is "lowbias32", a mixing function of 32 bits that was found by search for low bias (Wellons
2018, "Prospecting for Hash Functions"). GOLDEN is 2^32 divided by the golden ratio, made odd:
multiples of it spread over the whole range (Knuth, TAOCP vol. 3, section 6.4).
"""

from __future__ import annotations

from typing import Any

__all__ = ["GOLDEN", "MASK_32", "MIX_1", "MIX_2", "mix", "pass_key"]

MIX_1, MIX_2, GOLDEN = 0x7FEB352D, 0x846CA68B, 0x9E3779B9
MASK_32 = 0xFFFFFFFF


def mix(bits: Any) -> Any:
    """Return the hash of 32 bits, for a Python integer or an array of int64.

    Not in unsigned types, which not every library has all functions for. A product of int64 may
    wrap around, but its low 32 bits are right.
    """
    bits = bits ^ (bits >> 16)
    bits = (bits * MIX_1) & MASK_32
    bits = bits ^ (bits >> 15)
    bits = (bits * MIX_2) & MASK_32
    return bits ^ (bits >> 16)


def pass_key(passes: Any, key: int) -> Any:
    """Return what tells the mask of one forward pass of one layer from all others."""
    return mix((passes * GOLDEN & MASK_32) ^ key)
