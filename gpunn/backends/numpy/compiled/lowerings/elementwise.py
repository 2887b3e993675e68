"""Dropout, rescaling and standardization."""

from __future__ import annotations

import numpy as np

from gpunn.backends.hashing import MASK_32
from gpunn.backends.numpy.compiled.interface import INT8, INT16, NUMBERS, UINT8, UINT16
from gpunn.backends.numpy.compiled.lowerings.base import Lowerings, Steps, present, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.recording import Arguments

__all__ = ["Elementwise"]

SMALL_INTEGERS = {
    np.dtype(np.uint8): UINT8,
    np.dtype(np.int8): INT8,
    np.dtype(np.uint16): UINT16,
    np.dtype(np.int16): INT16,
}


class Elementwise(Lowerings):
    """Dropout, rescaling and standardization."""

    def dropout(self, ask: Arguments) -> Steps:
        x, rate, passes, out = ask.x, ask.rate, ask.passes, ask.out
        if isinstance(rate, float):
            moving, numbers = [], [None, round(rate * 2**32), 1 / (1 - rate)]
        else:
            moving, numbers = [rate], [rate, 0, 0.0]
        if not same_kind(x, out, *moving):
            return None
        shape, by_rows = self.divided(x, out)
        args = [x, out, *shape, passes, ask.key, ask.first & MASK_32, *numbers]
        return [Instruction("dropout", args, [x, passes, *moving], [out], by_rows)]

    def rescale(self, ask: Arguments) -> Steps:
        x, out = ask.x, ask.out
        if not same_kind(out) or not x.flags.c_contiguous:
            return None
        kind = NUMBERS if x.dtype == out.dtype else SMALL_INTEGERS.get(x.dtype)
        if kind is None:
            return None
        args = [x, out, x.size, kind, float(ask.scale), float(ask.offset)]
        return [Instruction("rescale", args, [x], [out])]

    def unstandardize(self, ask: Arguments) -> Steps:
        bounds = present(ask.least, ask.largest)
        bounds = bounds if len(bounds) == 2 else []
        read = [ask.x, ask.mean, ask.std, *bounds]
        if not same_kind(*read, ask.out):
            return None
        args = [ask.x, ask.mean, ask.std, *(bounds or [None, None]), ask.out]
        args += [ask.x.shape[0], ask.mean.size]
        return [Instruction("unstandardize", args, read, [ask.out])]

    def standardize(self, ask: Arguments) -> Steps:
        x, mean, out = ask.x, ask.mean, ask.out
        if not same_kind(*ask.arrays):
            return None
        args = [x, mean, ask.std, out, x.shape[0], mean.size]
        return [Instruction("standardize", args, [x, mean, ask.std], [out], [x, out])]
