"""Clipping, penalties, and the optimizers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from gpunn import optimizers
from gpunn.backends.numpy.compiled.forms.base import Forms, Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction, address
from gpunn.backends.operations import Trained
from gpunn.optimizers import Optimizer
from gpunn.typing import Array

__all__ = ["Updates"]


class Updates(Forms):
    """Clipping, penalties, and the optimizers."""

    def clip(self, gradients: Array, max_norm: float) -> Steps:
        if not same_kind(gradients):
            return None
        sums = np.empty(self.threads)
        args = [gradients, gradients.size, sums]
        read = [gradients, sums]
        return [
            Instruction("squares", args, [gradients], [sums]),
            Instruction("clip", [*args, float(max_norm)], read, [gradients]),
        ]

    def l2_penalty(
        self, values: Array, gradients: Array, weight: Array, strength: float, loss_sum: Array
    ) -> Steps:
        if not same_kind(values, gradients, weight, loss_sum):
            return None
        sums = np.empty(self.threads)
        args = [values, values.size, sums]
        more = [values, gradients, values.size, sums, weight, loss_sum, float(strength)]
        read = [values, gradients, sums, weight, loss_sum]
        return [
            Instruction("squares", args, [values], [sums]),
            Instruction("l2_penalty", more, read, [gradients, loss_sum]),
        ]

    def update(
        self, optimizer: Optimizer, trained: Trained, learning_rate: Array, step: Array
    ) -> Steps:
        values, gradients, slots, decayed = trained
        state = [slots[name] for name in optimizer.slots]
        if not same_kind(values, gradients, learning_rate, *state):
            return None
        chosen = kernel_of(optimizer)
        if chosen is None:
            return None
        kernel, hyperparameters = chosen
        decayed = decayed if optimizer.weight_decay else 0
        return [
            Instruction(
                kernel,
                [
                    values[part],
                    gradients[part],
                    *[*(slot[part] for slot in state), None, None][:2],
                    part.stop - part.start,
                    learning_rate,
                    step,
                    float(optimizer.weight_decay) if part.start < decayed else 0.0,
                    *map(float, hyperparameters),
                ],
                [gradients[part], learning_rate, step],
                [vector[part] for vector in (values, *state)],
                early=True,
            )
            for part in self._slices(gradients, decayed)
        ]

    def _slices(self, gradients: Array, decayed: int) -> list[slice]:
        """Return slices of the flat vectors: the gradient of each layer's weights, and the rest.

        So the update of a layer's weights can follow its gradient, which is in the cache then. One
        slice also ends where weight decay does.
        """
        start = address(gradients)
        bounds = {0, decayed, gradients.size}
        for one in self.products.gradients:
            offset = (address(one) - start) // one.itemsize
            if 0 <= offset < gradients.size:
                bounds |= {offset, offset + one.size}
        cuts = sorted(bounds)
        return [slice(low, high) for low, high in pairwise(cuts)]


def kernel_of(o: Any) -> tuple[str, list[float]] | None:
    """Return a built-in optimizer's kernel and its hyperparameters there, None for any other."""
    if type(o) is optimizers.SGD:
        if not o.momentum:
            return "sgd", []
        return "momentum", [o.momentum, o.nesterov]
    if type(o) is optimizers.RMSprop:
        return "rmsprop", [o.rho, 1 - o.rho, o.epsilon]
    if type(o) in (optimizers.Adam, optimizers.AdamW):
        logarithms = [math.log(beta) if beta else -math.inf for beta in (o.beta1, o.beta2)]
        betas = [o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2]
        return "adam", [*betas, o.epsilon, *logarithms, o.epsilon_hat]
    if type(o) is optimizers.Lion:
        return "lion", [o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2]
    return None
