"""Dropout, rescaling and standardisation."""

from __future__ import annotations

import numpy as np

from gpunn.backends.hashing import MASK_32
from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.interface import INT8, INT16, NUMBERS, UINT8, UINT16
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.typing import Array

__all__ = ["Elementwise"]

SMALL_INTEGERS = {
    np.dtype(np.uint8): UINT8,
    np.dtype(np.int8): INT8,
    np.dtype(np.uint16): UINT16,
    np.dtype(np.int16): INT16,
}


class Elementwise(Forms):
    """Dropout, rescaling and standardisation."""

    def dropout(
        self, x: Array, rate: float | Array, key: int, passes: Array, out: Array, first: int = 0
    ) -> Steps:
        if isinstance(rate, float):
            moving, numbers = [], [None, round(rate * 2**32), 1 / (1 - rate)]
        else:
            moving, numbers = [rate], [rate, 0, 0.0]
        if not same_kind(x, out, *moving):
            return None
        shape, by_rows = self.divided(x, out)
        args = [x, out, *shape, passes, key, first & MASK_32, *numbers]
        return [Instruction("dropout", args, [x, passes, *moving], [out], by_rows)]

    def rescale(self, x: Array, scale: float, offset: float, out: Array) -> Steps:
        if not same_kind(out) or not x.flags.c_contiguous:
            return None
        kind = NUMBERS if x.dtype == out.dtype else SMALL_INTEGERS.get(x.dtype)
        if kind is None:
            return None
        args = [x, out, x.size, kind, float(scale), float(offset)]
        return [Instruction("rescale", args, [x], [out])]

    def unstandardize(
        self,
        x: Array,
        mean: Array,
        std: Array,
        least: Array | None,
        largest: Array | None,
        out: Array,
    ) -> Steps:
        bounds = [] if least is None or largest is None else [least, largest]
        read = [x, mean, std, *bounds]
        if not same_kind(*read, out):
            return None
        args = [x, mean, std, *(bounds or [None, None]), out, x.shape[0], mean.size]
        return [Instruction("unstandardize", args, read, [out])]

    def standardize(self, x: Array, mean: Array, std: Array, out: Array) -> Steps:
        if not same_kind(x, mean, std, out):
            return None
        args = [x, mean, std, out, x.shape[0], mean.size]
        return [Instruction("standardize", args, [x, mean, std], [out], [x, out])]
