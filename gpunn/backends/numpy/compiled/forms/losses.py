"""Losses and their gradients."""

from __future__ import annotations

import numpy as np

from gpunn import losses
from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.interface import LOSS_BLOCK
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.losses import Loss
from gpunn.typing import Array

__all__ = ["Losses"]


class Losses(Forms):
    """Losses and their gradients."""

    def loss(
        self,
        loss: Loss,
        predictions: Array,
        targets: Array,
        weights: Array,
        normalizer: Array,
        gradient: Array | None,
        loss_sum: Array,
    ) -> Steps:
        known = type(loss) is losses.SoftmaxCrossEntropy and targets.ndim == 1
        given = [predictions, weights, normalizer, loss_sum]
        given += [] if gradient is None else [gradient]
        if not known or not same_kind(*given) or not targets.flags.c_contiguous:
            return None
        rows, classes = predictions.shape
        values = np.empty(rows, predictions.dtype)
        scratch = np.zeros((self.threads, classes + 4, LOSS_BLOCK), predictions.dtype)
        args = [predictions, targets, weights, normalizer, rows, classes, values, gradient]
        args += [scratch, scratch[0].nbytes, float(getattr(loss, "label_smoothing", 0.0))]
        read = [predictions, targets, weights, normalizer, scratch]
        changed = [values] if gradient is None else [values, gradient]
        return [
            Instruction("softmax_cross_entropy", args, read, changed),
            self.weighted_sum(values, weights, loss_sum),
        ]
