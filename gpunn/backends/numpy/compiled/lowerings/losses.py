"""Instructions for losses, gradients of losses, and mean predictions of ensemble members."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gpunn import losses
from gpunn.backends.numpy.compiled.interface import BLOCK_BYTES, MEMBER_MEANS, ROW_FUNCTIONS
from gpunn.backends.numpy.compiled.lowerings.base import Lowerings, Steps, present, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.memory import contiguous, zeros
from gpunn.backends.recording import Arguments
from gpunn.typing import Array

TOGETHER = 2048
"""Number of elements to process together, so that intermediate results stay in the cache."""


class Function(NamedTuple):
    """A loss: `scale` times the sum over outputs of the function `name` in ROW_FUNCTIONS.

    `slope` multiplies the slopes that the function returns. `constant` is the last argument.
    """

    name: str
    scale: float
    slope: float
    constant: float = 0.0


NAMES: Mapping[type[losses.ElementwiseLoss], tuple[str, str]] = {
    losses.MeanSquaredError: ("squared_error", ""),
    losses.MeanAbsoluteError: ("absolute_error", ""),
    losses.Huber: ("huber", "delta"),
    losses.Quantile: ("quantile", "quantile"),
    losses.BinaryCrossEntropy: ("binary_cross_entropy", ""),
    losses.Poisson: ("poisson", "from_zero"),
}
"""Maps each loss to the function that it sums over the outputs, and to the parameter's name."""


def function_of(loss: Any, predictions: Array) -> Function | None:
    # A subclass that changes only factors uses the built-in loss's kernel.
    kind, outputs = type(loss), predictions.shape[1]
    for built_in, (name, parameter) in NAMES.items():
        if issubclass(kind, built_in) and all(
            getattr(kind, formula) is getattr(built_in, formula)
            for formula in ("values", "gradients", "terms", "slopes")
        ):
            constant = getattr(loss, parameter) if parameter else 0.0
            return Function(name, loss.scale(outputs), loss.slope(outputs), constant)
    return None


def are_labels(targets: Array) -> bool:
    return targets.ndim == 1 and targets.dtype == np.int64 and contiguous(targets)


def are_numbers(targets: Array, predictions: Array) -> bool:
    return targets.shape == predictions.shape and same_kind(predictions, targets)


class Losses(Lowerings):
    def loss(self, op: Arguments) -> Steps:
        loss, predictions, targets, weights = op.loss, op.predictions, op.targets, op.weights
        smoothing: Any = getattr(loss, "label_smoothing", 0.0)
        moving = [] if isinstance(smoothing, float) else [smoothing]
        arrays = [predictions, weights, op.normalizer, op.loss_sum, *present(op.gradient), *moving]
        if not same_kind(*arrays):
            return None
        values = np.empty(weights.size, predictions.dtype)
        arrays = [predictions, targets, values, op.gradient, weights, op.normalizer]
        numbers, function = are_numbers(targets, predictions), function_of(loss, predictions)
        if function is not None and numbers:
            instruction = self.sum_over_outputs(function, *arrays)
        elif type(loss) is losses.SoftmaxCrossEntropy and (numbers or are_labels(targets)):
            instruction = self.softmax_cross_entropy(*arrays, smoothing=smoothing)
        else:
            return None
        return [instruction, self.weighted_sum(values, weights, op.loss_sum)]

    def mean_over_members(self, op: Arguments) -> Steps:
        x, out = op.x, op.out
        if not same_kind(x, out):
            return None
        _, members, outputs = x.shape
        scratch = self.blocks(members + max(members, outputs), x)
        args = [x, *x.shape, MEMBER_MEANS.index(op.of), scratch, scratch[0].nbytes, out]
        return [Instruction("mean_over_members", args, [x, scratch], [out])]

    def sum_over_outputs(
        self, function: Function, predictions: Array, targets: Array, values: Array, *of_loss: Any
    ) -> Instruction:
        gradient, weights, normalizer = of_loss or (None, None, None)
        rows, outputs = predictions.shape
        together = max(1, TOGETHER // outputs)
        scratch = self.blocks(-(-together * outputs // lanes_per_block(predictions)), predictions)
        args = [predictions, targets, weights, normalizer, rows, outputs, values, gradient]
        args += [scratch, scratch[0].nbytes, together, ROW_FUNCTIONS.index(function.name)]
        args += map(float, function[1:])
        read = present(predictions, targets, weights, normalizer, scratch)
        writes = present(values, gradient)
        by_rows = present(predictions, targets, weights, *writes)
        return Instruction("sum_over_outputs", args, read, writes, by_rows)

    def softmax_cross_entropy(
        self, predictions: Array, targets: Array, values: Array, *of_loss: Any, smoothing: Any = 0.0
    ) -> Instruction:
        # `smoothing` is a number, or an array of shape (1,) that a schedule sets.
        gradient, weights, normalizer = of_loss or (None, None, None)
        rows, classes = predictions.shape
        moving, number = (None, smoothing) if isinstance(smoothing, float) else (smoothing, 0.0)
        labels, probabilities = (targets, None) if targets.ndim == 1 else (None, targets)
        scratch = self.blocks(2 * classes, predictions)
        args = [predictions, labels, probabilities, weights, normalizer, rows, classes, values]
        args += [gradient, scratch, scratch[0].nbytes, moving, number]
        read = present(predictions, targets, weights, normalizer, scratch, moving)
        writes = present(values, gradient)
        by_rows = present(predictions, targets, weights, *writes)
        return Instruction("softmax_cross_entropy", args, read, writes, by_rows)

    def blocks(self, count: int, like: Array) -> Array:
        return zeros((self.threads, count * lanes_per_block(like)), like.dtype.name)


def lanes_per_block(array: Array) -> int:
    return BLOCK_BYTES // int(array.itemsize)
