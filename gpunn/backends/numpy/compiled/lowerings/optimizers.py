"""Instructions for optimizers, gradient clipping and penalties."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from gpunn import optimizers
from gpunn.backends.numpy.compiled.conflicts import address
from gpunn.backends.numpy.compiled.lowerings.base import Steps, same_kind
from gpunn.backends.numpy.compiled.lowerings.expressions import Expressions
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.operations import Segment, Trained, is_zero
from gpunn.backends.recording import Arguments
from gpunn.backends.tracing import hint
from gpunn.expressions import REDUCTIONS

LARGE = 2**15
"""Matrices of at least this size are updated while their gradients are still in the cache."""


class Optimizers(Expressions):
    def clip(self, op: Arguments) -> Steps:
        gradients = op.gradients
        if not same_kind(gradients):
            return None
        sums = np.empty(self.threads)
        args = [gradients, gradients.size, sums]
        return [
            Instruction("squares", args, [gradients], [sums]),
            Instruction("clip", [*args, float(op.max_norm)], [gradients, sums], [gradients]),
        ]

    def l2_penalty(self, op: Arguments) -> Steps:
        values, gradients, loss_sum = op.values, op.gradients, op.loss_sum
        if not same_kind(*op.arrays):
            return None
        sums, strength = np.empty(self.threads), op.strength
        if not isinstance(strength, float):  # a ReplaceableFloat must stay the same object
            strength = float(strength)
        read = [values, gradients, sums, op.weight, loss_sum]
        args = [values, gradients, values.size, sums, op.weight, loss_sum, strength]
        return [
            Instruction("squares", [values, values.size, sums], [values], [sums]),
            Instruction("l2_penalty", args, read, [gradients, loss_sum]),
        ]

    def update(self, op: Arguments) -> Steps:
        trained, learning_rate = op.trained, op.learning_rate
        values, gradients, slots, _ = trained
        state = [slots[name] for name in op.optimizer.slots]
        decay: Any = op.optimizer.weight_decay  # a number, or an array that a schedule sets
        moving = [] if isinstance(decay, float) else [decay]
        if not same_kind(values, gradients, learning_rate, *state, *moving):
            return None
        chosen = kernel_of(op.optimizer)
        if chosen is None:
            return self._traced_update(op, is_zero(decay))
        kernel, hyperparameters = chosen
        instructions = []
        for start, stop, rate_factor, decay_factor in self._segments(trained, is_zero(decay)):
            part = slice(start, stop)
            instructions.append(
                Instruction(
                    kernel,
                    [
                        values[part],
                        gradients[part],
                        *[*(slot[part] for slot in state), None, None][:2],
                        stop - start,
                        learning_rate,
                        op.step,
                        decay if moving else None,
                        float(rate_factor),
                        float(decay_factor) if moving else float(decay * decay_factor),
                        *map(float, hyperparameters),
                    ],
                    [gradients[part], learning_rate, op.step, *moving],
                    [vector[part] for vector in (values, *state)],
                    early=True,
                )
            )
        return instructions

    def _traced_update(self, op: Arguments, undecayed: bool) -> Steps:
        runs, segments = op.trained.runs(), self._segments(op.trained, undecayed, LARGE)
        if op.optimizer.by_parameter:
            segments = [each for each in op.trained.segments if each.start < each.stop]
        elif not self._is_elementwise(op, {each.stop - each.start for each in (*runs, *segments)}):
            decay = segments[0].decay
            if any(each.decay != decay for each in segments):
                hint(
                    type(op.optimizer),
                    "a sum over parameters with different weight decay is not supported",
                )
                return None
            segments = [each._replace(decay=decay) for each in runs]
        instructions: list[Instruction] = []
        for start, stop, rate, decay in segments:
            steps = self.traced("update", alone(op, start, stop, rate, decay), early=True)
            if steps is None:
                return None
            instructions += steps
        return instructions

    def _is_elementwise(self, op: Arguments, sizes: set[int]) -> bool:
        """Return whether slices of the parameters, with these sizes, can be updated separately."""
        found = [self.functions_of("update", alone(op, 0, size)) for size in sizes]
        reduces = any(name in REDUCTIONS for each in found for name, _ in each)
        return len(sizes) == 1 or (not reduces and all(each == found[0] for each in found))

    def _segments(self, trained: Trained, undecayed: bool, least: int = 0) -> list[Segment]:
        """Split segments at both ends of each gradient matrix of at least `least` numbers."""
        # Then an update reads a matrix's gradient from the cache.
        gradients, cuts = trained.gradients, set[int]()
        first = address(gradients)
        for one in self.products.gradients:
            offset = (address(one) - first) // one.itemsize
            cuts |= {offset, offset + one.size} if one.size >= least else set()
        return [
            segment._replace(start=low, stop=high)
            for segment in (trained.runs() if undecayed else trained.segments)
            for low, high in pairwise(
                sorted(
                    {segment.start, segment.stop}
                    | {cut for cut in cuts if segment.start < cut < segment.stop}
                )
            )
        ]


def alone(op: Arguments, start: int, stop: int, rate: float = 1.0, decay: float = 0.0) -> Arguments:
    part = op.trained.part(start, stop)
    return op.replace(trained=part._replace(segments=[Segment(0, stop - start, rate, decay)]))


def kernel_of(o: Any) -> tuple[str, list[float]] | None:
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
