"""Dropout: both passes compute the mask with a hash function, instead of storing it."""

import functools
from dataclasses import dataclass
from functools import partial
from typing import Any

import cupy
import numpy as np

from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import Calls
from gpunn.backends.hashing import GOLDEN, MASK_32, MIX_1, MIX_2
from gpunn.backends.recording import Arguments

# `mix` is `gpunn.backends.hashing.mix` in unsigned 32-bit arithmetic. `dropped` returns element
# number i, in row-major order, after dropout; it needs FUNCTIONS.
DROPPED = f"""
__device__ unsigned int mix(unsigned int bits) {{
  bits = (bits ^ (bits >> 16)) * {MIX_1:#x}u;
  bits = (bits ^ (bits >> 15)) * {MIX_2:#x}u;
  return bits ^ (bits >> 16);
}}

template <typename T> __device__ T dropped(
    T x, unsigned int i, unsigned int pass_key, unsigned long long threshold, T growth) {{
  return product((T)(mix(i * {GOLDEN:#x}u ^ pass_key) >= threshold) * x, growth);
}}
"""


@dataclass(frozen=True)
class Mask:
    """CUDA code of dropout, for elementwise and raw kernels.

    In an elementwise kernel, `inputs` declares the arguments of dropout. In a raw kernel,
    `parameters` declares the same arguments.
    """

    prefix: str
    inputs: str
    parameters: str
    statements: str

    @staticmethod
    def drop(x: str, i: str) -> str:
        return f"dropped({x}, (unsigned int){i} + position, pass_key, threshold, growth)"


PASS_KEY = f"const unsigned int pass_key = mix((unsigned int)passes[0] * {GOLDEN:#x}u ^ key);"
POSITION = "raw int64 passes, uint32 key, uint32 position"
RAW_POSITION = "const long long* passes, unsigned int key, unsigned int position"

# The threshold has 33 bits: a rate just below 1 rounds to 2^32.
FIXED = Mask(
    "",
    f"{POSITION}, uint64 threshold, T growth",
    f"{RAW_POSITION}, unsigned long long threshold, T growth",
    PASS_KEY,
)
MOVING = Mask(
    "moving_",
    f"{POSITION}, raw T rate",
    f"{RAW_POSITION}, const T* rate",
    f"""{PASS_KEY}
  const unsigned long long threshold = (unsigned long long)rint(rate[0] * (T)4294967296.0);
  const T growth = 1 / (1 - rate[0]);""",
)


def mask_of(op: Arguments) -> Mask:
    return FIXED if isinstance(op.rate, float) else MOVING


def mask_arguments(op: Arguments, T: Any) -> list[Any]:
    rate = op.rate
    position = op.passes, np.uint32(op.key), np.uint32(op.first & MASK_32)
    if isinstance(rate, float):
        return [*position, np.uint64(round(rate * 2**32)), T(1 / (1 - rate))]
    return [*position, rate]


@functools.cache
def kernel_of(mask: Mask) -> Any:
    name, statement = f"gpunn_{mask.prefix}dropout", f"y = {mask.drop('x', 'i')};"
    preamble = FUNCTIONS + DROPPED
    return cupy.ElementwiseKernel(
        f"T x, {mask.inputs}", "T y", statement, name, preamble=preamble, loop_prep=mask.statements
    )


def dropout(op: Arguments) -> Calls:
    inputs = op.x, *mask_arguments(op, op.x.dtype.type)
    return [partial(kernel_of(mask_of(op)), *inputs, op.out)]
