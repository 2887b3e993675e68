"""Batch and layer normalisation."""

from __future__ import annotations

import numpy as np

from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.compiled.sums import sum_rows
from gpunn.typing import Array

__all__ = ["Normalization"]


class Normalization(Forms):
    """Batch and layer normalisation."""

    def normalize(
        self,
        x: Array,
        mean: Array,
        variance: Array,
        epsilon: float,
        scale: Array | None,
        shift: Array | None,
        out: Array,
    ) -> Steps:
        if scale is None or shift is None:
            scale, shift = np.ones_like(mean), np.zeros_like(mean)
        read = [x, mean, variance, scale, shift]
        if not same_kind(*read, out):
            return None
        factors = np.empty((self.threads, mean.size), mean.dtype)
        args = [*read, factors, out, *x.shape, float(epsilon)]
        return [Instruction("normalize", args, read, [factors, out], [x, out])]

    def batch_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        running_mean: Array,
        running_variance: Array,
        momentum: float,
        epsilon: float,
        normalized: Array,
        inverse_std: Array,
        out: Array,
    ) -> Steps:
        averages, results = [running_mean, running_variance], [normalized, inverse_std, out]
        read = [x, scale, shift, *averages]
        if not same_kind(*read, *results) or not x.size:
            return None
        mean = np.empty_like(scale)
        args = [*read, *results, mean, *x.shape, float(momentum), float(epsilon)]
        return [Instruction("batch_norm", args, read, [*averages, *results, mean])]

    def batch_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> Steps:
        read, sums = [gradient, normalized, inverse_std, scale], [scale_gradient, shift_gradient]
        if not same_kind(*read, *sums) or not gradient.size:
            return None
        args = [*read, *sums, *gradient.shape]
        return [Instruction("batch_norm_gradient", args, read, [gradient, *sums])]

    def layer_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        epsilon: float,
        normalized: Array,
        inverse_std: Array,
        out: Array,
    ) -> Steps:
        read, changed = [x, scale, shift], [normalized, inverse_std, out]
        if not same_kind(*read, *changed):
            return None
        args = [*read, *changed, *x.shape, float(epsilon)]
        return [Instruction("layer_norm", args, read, changed, [x, *changed])]

    def layer_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> Steps:
        read, changed = [gradient, normalized, inverse_std, scale], [scale_gradient, shift_gradient]
        if not same_kind(*read, *changed):
            return None
        sums = np.empty((2, self.threads, scale.size), scale.dtype)
        args = [*read, sums, *gradient.shape]
        return [
            Instruction("layer_norm_gradient", args, read, [gradient, sums], read[:3]),
            *map(sum_rows, sums, changed),
        ]
