"""Dropout: the kernels of both passes compute the mask with a hash function, and never store it."""

from __future__ import annotations

from functools import partial

import cupy

from gpunn.backends.cupy.kernels.raw import Calls
from gpunn.backends.hashing import GOLDEN, MASK_32, MIX_1, MIX_2
from gpunn.backends.recording import Arguments

__all__ = ["dropout"]

# Like `gpunn.backends.hashing.mix`, in unsigned 32-bit arithmetic. Below, `i` is the element's
# number in row-major order, in any layout.
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

DROPOUT = cupy.ElementwiseKernel(
    # The threshold has 33 bits: a rate just below 1 rounds to 2^32.
    "T x, raw int64 passes, uint32 key, uint32 first, uint64 threshold, T scale",
    "T y",
    OPERATION,
    "gpunn_dropout",
    preamble=MIX,
    loop_prep=PASS_KEY,
)
MOVING_DROPOUT = cupy.ElementwiseKernel(
    "T x, raw int64 passes, uint32 key, uint32 first, raw T rate",
    "T y",
    OPERATION,
    "gpunn_moving_dropout",
    preamble=MIX,
    loop_prep=PASS_KEY + MOVING,
)


def dropout(op: Arguments) -> Calls:
    """Drop elements of an array of any layout, with a fixed or scheduled rate."""
    rate = op.rate
    inputs = op.x, op.passes, op.key, op.first & MASK_32
    if isinstance(rate, float):
        return [partial(DROPOUT, *inputs, round(rate * 2**32), 1 / (1 - rate), op.out)]
    return [partial(MOVING_DROPOUT, *inputs, rate, op.out)]
