"""The 32-bit hash function of dropout masks.

`mix` is "lowbias32", which was found by a search for hash functions of low bias (Wellons 2018,
"Prospecting for Hash Functions"). GOLDEN is 2^32 divided by the golden ratio, made odd: the
multiples of GOLDEN spread over all 32-bit numbers (Knuth, TAOCP vol. 3, section 6.4).
"""

from __future__ import annotations

from typing import Any

MIX_1, MIX_2, GOLDEN = 0x7FEB352D, 0x846CA68B, 0x9E3779B9
MASK_32 = 0xFFFFFFFF


def mix(bits: Any) -> Any:
    # No unsigned types: some array libraries lack functions for them. A product of int64 may wrap
    # around, but its low 32 bits are correct.
    bits = bits ^ (bits >> 16)
    bits = (bits * MIX_1) & MASK_32
    bits = bits ^ (bits >> 15)
    bits = (bits * MIX_2) & MASK_32
    return bits ^ (bits >> 16)


def pass_key(passes: Any, key: int) -> Any:
    """Return the key of a layer's forward pass: a hash of the pass number and the layer's key."""
    return mix((passes * GOLDEN & MASK_32) ^ key)
