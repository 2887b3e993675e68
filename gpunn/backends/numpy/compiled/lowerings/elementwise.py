"""Instructions for dropout, rescaling and standardization."""

import numpy as np

from gpunn.backends.hashing import MASK_32
from gpunn.backends.numpy.compiled.interface import INT8, INT16, NUMBERS, UINT8, UINT16
from gpunn.backends.numpy.compiled.lowerings.base import Lowerings, Steps, present, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.recording import Arguments

SMALL_INTEGERS = {
    np.dtype(np.uint8): UINT8,
    np.dtype(np.int8): INT8,
    np.dtype(np.uint16): UINT16,
    np.dtype(np.int16): INT16,
}


class Elementwise(Lowerings):
    def dropout(self, op: Arguments) -> Steps:
        x, rate, passes, out = op.x, op.rate, op.passes, op.out
        if isinstance(rate, float):
            moving, numbers = [], [None, round(rate * 2**32), 1 / (1 - rate)]
        else:
            moving, numbers = [rate], [rate, 0, 0.0]
        if not same_kind(x, out, *moving):
            return None
        shape, by_rows = self.divided(x, out)
        args = [x, out, *shape, passes, op.key, op.first & MASK_32, *numbers]
        return [self.instruction("dropout", args, [x, passes, *moving], [out], by_rows)]

    def rescale(self, op: Arguments) -> Steps:
        x, out = op.x, op.out
        if not same_kind(out) or not x.flags.c_contiguous:
            return None
        kind = NUMBERS if x.dtype == out.dtype else SMALL_INTEGERS.get(x.dtype)
        if kind is None:
            return None
        args = [x, out, x.size, kind, float(op.scale), float(op.offset)]
        return [Instruction("rescale", args, [x], [out])]

    def unstandardize(self, op: Arguments) -> Steps:
        bounds = present(op.minimum, op.maximum)
        bounds = bounds if len(bounds) == 2 else []
        read = [op.x, op.mean, op.std, *bounds]
        if not same_kind(*read, op.out):
            return None
        args = [op.x, op.mean, op.std, *(bounds or [None, None]), op.out]
        args += [op.x.shape[0], op.mean.size]
        return [Instruction("unstandardize", args, read, [op.out])]

    def standardize(self, op: Arguments) -> Steps:
        x, mean, out = op.x, op.mean, op.out
        if not same_kind(*op.arrays):
            return None
        args = [x, mean, op.std, out, x.shape[0], mean.size]
        return [Instruction("standardize", args, [x, mean, op.std], [out], [x, out])]
