"""From a backend's operations to instructions of a program.

For each operation that there are kernels for, there is a method with the same parameters. It
returns what is to be done, in order: instructions, and calls of NumPy between them. None means that
there is no kernel for these arguments: an array that isn't contiguous, a loss of the user's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from gpunn import activations, losses, metrics, optimizers
from gpunn.activations import Activation
from gpunn.backends.numpy.bind import Binder
from gpunn.backends.numpy.compiled import columns, elementwise
from gpunn.backends.numpy.compiled import counters as counter_kernels
from gpunn.backends.numpy.compiled import losses as loss_kernels
from gpunn.backends.numpy.compiled import optimizers as update_kernels
from gpunn.backends.numpy.compiled.kernel import Kernel
from gpunn.backends.numpy.compiled.product_plans import ProductPlans
from gpunn.backends.numpy.compiled.program import Instruction, address
from gpunn.backends.numpy.scratch import contiguous
from gpunn.backends.operations import Trained, UpdateCounters
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.optimizers import Optimizer
from gpunn.typing import Array

__all__ = ["Encoder"]

Operations: TypeAlias = list[Instruction | Callable[[], None]] | None


def same_kind(*arrays: Array) -> bool:
    """Return whether all arrays are contiguous, and all of float32 or all of float64."""
    return contiguous(*arrays) and arrays[0].dtype in (np.float32, np.float64)


class Encoder:
    """Encodes operations as instructions.

    Parameters
    ----------
    binder : Binder
        Makes calls of what there are no instructions for.
    threads : int
        Threads of the team.
    products : ProductPlans
        Encodes matrix products.
    """

    def __init__(self, binder: Binder, threads: int, products: ProductPlans) -> None:
        self.binder, self.threads, self.products = binder, threads, products

    # --------------------------------------------------------------------------- bookkeeping

    def fill(self, out: Array, value: float) -> Operations:
        if not same_kind(out):
            return None
        return [Instruction(counter_kernels.FILL, [out, out.size, float(value)], writes=[out])]

    def accumulate(self, values: Array, out: Array) -> Operations:
        if not same_kind(values, out) or values.shape != out.shape:
            return None
        return [Instruction(counter_kernels.ADD, [values, out, out.size], [values, out], [out])]

    def gather_rows(self, source: Array, order: Array, start: Array, out: Array) -> Operations:
        if not contiguous(source, out) or not contiguous(order, start) or not out.size:
            return None
        row_bytes = out.nbytes // out.shape[0]
        args = [source, order, start, out, out.shape[0], row_bytes]
        return [Instruction(counter_kernels.GATHER, args, [source, order, start], [out])]

    def sum(self, values: Array, out: Array) -> Operations:
        if not same_kind(values, out):
            return None
        return [Instruction(counter_kernels.SET_SUM, [values, values.size, out], [values], [out])]

    def count_pass(self, start: Array, rows: int, passes: Array) -> Operations:
        changed = [start, passes]
        return [Instruction(counter_kernels.COUNT_PASS, [start, rows, passes], changed, changed)]

    def count_update(self, counters: UpdateCounters) -> Operations:
        rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps = counters
        if not same_kind(rates, rate, weight, loss_sum, weight_sum, finite_steps):
            return None
        changed = [position, rate, updates, weight_sum, finite_steps]
        return [Instruction(counter_kernels.COUNT_UPDATE, counters, counters, changed, early=True)]

    # -------------------------------------------------------------------------------- layers

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Operations:
        if not same_kind(a, b, out) or (transpose_a and transpose_b) or not a.size * b.size:
            return None
        return list(self.products.encode(a, b, out, transpose_a, transpose_b))

    def dense(
        self,
        x: Array,
        weights: Array,
        bias: Array | None,
        activation: Activation,
        z: Array,
        out: Array,
    ) -> Operations:
        if not same_kind(x, weights, z, *([] if bias is None else [bias])) or not x.size:
            return None
        rectified = type(activation) is activations.ReLU
        if out is z and (rectified or type(activation) is activations.Identity):
            floor = 0.0 if rectified else -math.inf
            return list(self.products.encode(x, weights, out, bias=bias, floor=floor))
        rest = self.binder.activate(activation, z, None, out)
        if rest is None:
            return None
        return [*self.products.encode(x, weights, z, bias=bias), *rest]

    def dense_gradient(
        self,
        x: Array,
        weights: Array,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        weight_gradient: Array,
        bias_gradient: Array | None,
        input_gradient: Array | None,
    ) -> Operations:
        given = [array for array in (bias_gradient, input_gradient) if array is not None]
        if not same_kind(x, weights, output, gradient, weight_gradient, *given) or not x.size:
            return None
        size = gradient.itemsize
        operations: list[Instruction | Callable[[], None]] = []
        sums = [] if bias_gradient is None else [bias_gradient]
        if type(activation) is activations.ReLU:
            args = [output, gradient, *gradient.shape, size, bias_gradient]
            changed = [gradient, *sums]
            operations.append(
                Instruction(columns.RECTIFIED_GRADIENT, args, [output, gradient], changed)
            )
        elif type(activation) is activations.Identity:
            if bias_gradient is not None:
                args = [gradient, *gradient.shape, size, bias_gradient]
                operations.append(Instruction(columns.SUM_ROWS, args, [gradient], sums))
        else:
            calls = self.binder.activation_gradient(activation, z, output, gradient, None)
            if calls is None:
                return None
            operations += calls
            if bias_gradient is not None:
                operations.append(partial(np.add.reduce, gradient, axis=0, out=bias_gradient))
        if input_gradient is not None:
            operations += self.products.encode(gradient, weights, input_gradient, transpose_b=True)
        operations += self.products.encode(x, gradient, weight_gradient, transpose_a=True)
        return operations

    def dropout(self, x: Array, rate: float, key: int, passes: Array, out: Array) -> Operations:
        if not same_kind(x, out):
            return None
        args = [x, out, x.size, passes, key, round(rate * 2**32), 1 / (1 - rate)]
        return [Instruction(elementwise.DROPOUT, args, [x, passes], [out])]

    def rescale(self, x: Array, scale: float, offset: float, out: Array) -> Operations:
        if not same_kind(out) or not x.flags.c_contiguous:
            return None
        kernels = {out.dtype: elementwise.RESCALE, np.dtype(np.uint8): elementwise.RESCALE_BYTES}
        if x.dtype not in kernels:
            return None
        args = [x, out, x.size, float(scale), float(offset)]
        return [Instruction(kernels[x.dtype], args, [x], [out])]

    def standardize(self, x: Array, mean: Array, std: Array, out: Array) -> Operations:
        if not same_kind(x, mean, std, out):
            return None
        args = [x, mean, std, out, x.shape[0], mean.size]
        return [Instruction(elementwise.STANDARDIZE, args, [x, mean, std], [out])]

    # -------------------------------------------------------------- losses, metrics, updates

    def loss(
        self,
        loss: Loss,
        predictions: Array,
        targets: Array,
        weights: Array,
        normalizer: Array,
        gradient: Array | None,
        loss_sum: Array,
    ) -> Operations:
        known = type(loss) is losses.SoftmaxCrossEntropy and targets.ndim == 1
        given = [predictions, weights, normalizer, loss_sum]
        given += [] if gradient is None else [gradient]
        if not known or not same_kind(*given) or not targets.flags.c_contiguous:
            return None
        rows, classes = predictions.shape
        values = np.empty(rows, predictions.dtype)
        scratch = np.zeros((self.threads, classes + 4, loss_kernels.BLOCK), predictions.dtype)
        args = [predictions, targets, weights, normalizer, rows, classes, values, gradient]
        args += [scratch, scratch[0].nbytes, float(getattr(loss, "label_smoothing", 0.0))]
        read = [predictions, targets, weights, normalizer, scratch]
        changed = [values] if gradient is None else [values, gradient]
        return [
            Instruction(loss_kernels.SOFTMAX_CROSS_ENTROPY, args, read, changed),
            self._weighted_sum(values, weights, loss_sum),
        ]

    def metric(
        self, metric: Metric, predictions: Array, targets: Array, weights: Array, summary: Array
    ) -> Operations:
        known = type(metric) is metrics.Accuracy and targets.ndim == 1
        if not known or not same_kind(predictions, weights, summary):
            return None
        rows, classes = predictions.shape
        correct = np.empty(rows, predictions.dtype)
        args = [predictions, targets, rows, classes, correct]
        read = [predictions, targets]
        return [
            Instruction(loss_kernels.ACCURACY, args, read, [correct]),
            self._weighted_sum(correct, weights, summary),
        ]

    def _weighted_sum(self, values: Array, weights: Array, out: Array) -> Instruction:
        args = [values, weights, values.size, out]
        read = [values, weights, out]
        return Instruction(loss_kernels.ADD_WEIGHTED_SUM, args, read, [out])

    def clip(self, gradients: Array, max_norm: float) -> Operations:
        if not same_kind(gradients):
            return None
        sums = np.empty(self.threads)
        args = [gradients, gradients.size, sums]
        read = [gradients, sums]
        return [
            Instruction(update_kernels.SQUARES, args, [gradients], [sums]),
            Instruction(update_kernels.CLIP, [*args, float(max_norm)], read, [gradients]),
        ]

    def l2_penalty(
        self, values: Array, gradients: Array, weight: Array, strength: float, loss_sum: Array
    ) -> Operations:
        if not same_kind(values, gradients, weight, loss_sum):
            return None
        sums = np.empty(self.threads)
        args = [values, values.size, sums]
        more = [values, gradients, values.size, sums, weight, loss_sum, float(strength)]
        read = [values, gradients, sums, weight, loss_sum]
        return [
            Instruction(update_kernels.SQUARES, args, [values], [sums]),
            Instruction(update_kernels.L2_PENALTY, more, read, [gradients, loss_sum]),
        ]

    def update(
        self, optimizer: Optimizer, trained: Trained, learning_rate: Array, step: Array
    ) -> Operations:
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


def kernel_of(o: Any) -> tuple[Kernel, list[float]] | None:
    """Return a built-in optimizer's kernel and its hyperparameters there, None for any other."""
    if type(o) is optimizers.SGD:
        if not o.momentum:
            return update_kernels.SGD, []
        return update_kernels.MOMENTUM, [o.momentum, o.nesterov]
    if type(o) is optimizers.RMSprop:
        return update_kernels.RMSPROP, [o.rho, 1 - o.rho, o.epsilon]
    if type(o) in (optimizers.Adam, optimizers.AdamW):
        logarithms = [math.log(beta) if beta else -math.inf for beta in (o.beta1, o.beta2)]
        betas = [o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2]
        return update_kernels.ADAM, [*betas, o.epsilon, *logarithms, o.epsilon_hat]
    if type(o) is optimizers.Lion:
        return update_kernels.LION, [o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2]
    return None
