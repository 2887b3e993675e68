"""Dropout, rescaling and standardisation."""

from __future__ import annotations

import numpy as np

from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.typing import Array

__all__ = ["Elementwise"]


class Elementwise(Forms):
    """Dropout, rescaling and standardisation."""

    def dropout(self, x: Array, rate: float, key: int, passes: Array, out: Array) -> Steps:
        if not same_kind(x, out):
            return None
        args = [x, out, x.size, passes, key, round(rate * 2**32), 1 / (1 - rate)]
        return [Instruction("dropout", args, [x, passes], [out])]

    def rescale(self, x: Array, scale: float, offset: float, out: Array) -> Steps:
        if not same_kind(out) or not x.flags.c_contiguous:
            return None
        kernels = {out.dtype: "rescale", np.dtype(np.uint8): "rescale_bytes"}
        if x.dtype not in kernels:
            return None
        args = [x, out, x.size, float(scale), float(offset)]
        return [Instruction(kernels[x.dtype], args, [x], [out])]

    def standardize(self, x: Array, mean: Array, std: Array, out: Array) -> Steps:
        if not same_kind(x, mean, std, out):
            return None
        args = [x, mean, std, out, x.shape[0], mean.size]
        return [Instruction("standardize", args, [x, mean, std], [out])]
