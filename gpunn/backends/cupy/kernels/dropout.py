"""Dropout, with the mask recomputed from a hash wherever it is needed."""

from __future__ import annotations

import functools
from typing import Any

import cupy

from gpunn.backends.hashing import GOLDEN, MASK_32, MIX_1, MIX_2
from gpunn.typing import Array

__all__ = ["dropout"]

# As `gpunn.backends.hashing.mix`, in unsigned arithmetic of 32 bits. Below, `i` is the element's
# number in row-major order, whatever the layout.
MIX = f"""
__device__ unsigned int mix(unsigned int bits) {{
  bits = (bits ^ (bits >> 16)) * {MIX_1:#x}u;
  bits = (bits ^ (bits >> 15)) * {MIX_2:#x}u;
  return bits ^ (bits >> 16);
}}
"""
OPERATION = f"""
const unsigned int position = ((unsigned int)i + first) * {GOLDEN:#x}u;
y = (T)(mix(position ^ pass_key) >= threshold) * x * scale;
"""
PASS_KEY = f"const unsigned int pass_key = mix((unsigned int)passes[0] * {GOLDEN:#x}u ^ key);"


MOVING = """
const unsigned long long threshold = (unsigned long long)rint(rate[0] * (T)4294967296.0);
const T scale = 1 / (1 - rate[0]);
"""


def dropout(
    x: Array, rate: float | Array, key: int, passes: Array, out: Array, first: int = 0
) -> None:
    """Set out = x / (1 - rate) where the element is kept, 0 elsewhere; `out` may be x."""
    if isinstance(rate, float):
        dropout_kernel()(x, passes, key, first & MASK_32, round(rate * 2**32), 1 / (1 - rate), out)
    else:
        moving_dropout_kernel()(x, passes, key, first & MASK_32, rate, out)


@functools.cache
def dropout_kernel() -> Any:
    return cupy.ElementwiseKernel(
        # The threshold has 33 bits: a rate just below 1 rounds to 2^32.
        "T x, raw int64 passes, uint32 key, uint32 first, uint64 threshold, T scale",
        "T y",
        OPERATION,
        "gpunn_dropout",
        preamble=MIX,
        loop_prep=PASS_KEY,
    )


@functools.cache
def moving_dropout_kernel() -> Any:
    return cupy.ElementwiseKernel(
        "T x, raw int64 passes, uint32 key, uint32 first, raw T rate",
        "T y",
        OPERATION,
        "gpunn_moving_dropout",
        preamble=MIX,
        loop_prep=PASS_KEY + MOVING,
    )
