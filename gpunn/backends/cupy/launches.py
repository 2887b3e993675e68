"""Operations as launches of kernels: one, or very few, for each.

For each operation that has a kernel there is a method with the same parameters. It returns what is
to be called, in order. None means that the definition does it, on the device all the same: an
activation, loss, metric or optimizer that isn't built in, arrays of mixed types, and for the raw
kernels also strides. Matrix products go to cuBLAS. Nothing here waits for the device, and no call
allocates once its scratch memory has its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from gpunn.activations import Identity, ReLU
from gpunn.backends.collective import Collective
from gpunn.backends.cupy.kernels import (
    activations,
    categories,
    dropout,
    loss_scale,
    losses,
    member_means,
    members,
    metrics,
    normalization,
    numbers,
    optimizers,
    rows,
    sums,
)
from gpunn.backends.cupy.kernels.counters import count_update
from gpunn.backends.cupy.kernels.raw import C_TYPES
from gpunn.backends.cupy.matmul.cublaslt import BIAS, BIAS_GRADIENT, RELU, RELU_BIAS
from gpunn.backends.cupy.scratch import Scratch
from gpunn.metrics import ClassMetric
from gpunn.typing import Array

if TYPE_CHECKING:
    from gpunn.activations import Activation
    from gpunn.backends.operations import Trained, UpdateCounters
    from gpunn.losses import Loss
    from gpunn.metrics import Metric
    from gpunn.optimizers import Optimizer

__all__ = ["Calls", "Launches"]

Calls: TypeAlias = list[Callable[[], Any]]
"""What does an operation, in order."""

INT64 = np.dtype(np.int64)
FUSIBLE_TYPES = {np.dtype(np.float32)}

EPILOGUES = {(Identity, True): BIAS, (ReLU, True): RELU_BIAS, (ReLU, False): RELU}
"""What a product can do for an activation, with and without a bias."""


class Launches:
    """Kernels for operations.

    Parameters
    ----------
    product : callable
        Sets out = a @ b, with either operand transposed first.
    fused_product : callable
        The same with an epilogue; returns False where it refuses.
    scratch : Scratch
    """

    def __init__(self, product: Any, fused_product: Any, scratch: Scratch) -> None:
        self.product, self.fused_product, self.scratch = product, fused_product, scratch

    # --------------------------------------------------------------------------- bookkeeping

    def call(self, function: Callable[[], None]) -> Calls | None:
        return [function] if isinstance(function, Collective) else None

    def assign(self, values: Array, out: Array) -> Calls | None:
        return [partial(rows.assign, values, out)]

    def take(self, table: Array, index: Array, out: Array) -> Calls | None:
        return [partial(rows.take, table, index, out)]

    def gather_rows(self, source: Array, order: Array, start: Array, out: Array) -> Calls | None:
        return [partial(rows.gather_rows, source, order, start, out)]

    def sum(self, values: Array, out: Array) -> Calls | None:
        if not contiguous(values, out):
            return None
        return [partial(sums.set_sum, values, values.size, out, self.scratch)]

    def count_finite(self, loss_sum: Array, out: Array) -> Calls | None:
        return [partial(rows.count_finite, loss_sum, out)]

    def next_batch(
        self,
        sources: Sequence[Array],
        order: Array,
        start: Array,
        outs: Sequence[Array],
        passes: Array,
    ) -> Calls | None:
        arrays = *sources, *outs
        known = all(array.dtype in rows.TYPES for array in arrays)
        if not known or not all(array.flags.c_contiguous for array in (order, *arrays)):
            return None
        return [partial(rows.next_batch, sources, order, start, outs, passes, self.scratch)]

    def count_update(self, counters: UpdateCounters) -> Calls | None:
        if not of_one_type(*floating(counters)):
            return None
        return [partial(count_update, counters)]

    # ----------------------------------------------------------------------------- layers

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Calls | None:
        if not contiguous(out) or not of_one_type(a, b, out):
            return None
        return [partial(self.product, a, b, out, transpose_a, transpose_b)]

    def activate(
        self, activation: Activation, z: Array, bias: Array | None, out: Array
    ) -> Calls | None:
        arrays = (z, out) if bias is None else (z, out, bias)
        if type(activation) not in activations.FORMULAS or not of_one_type(*arrays):
            return None
        return [partial(activations.forward, activation, z, bias, out)]

    def activation_gradient(
        self,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        bias_gradient: Array | None,
    ) -> Calls | None:
        arrays = z, output, gradient
        if type(activation) not in activations.FORMULAS or not of_one_type(*arrays):
            return None
        if bias_gradient is None:
            return [partial(activations.backward, activation, *arrays)]
        if gradient.ndim > 1 and contiguous(*arrays, bias_gradient):
            given = *arrays, bias_gradient, self.scratch
            return [partial(activations.backward_with_bias, activation, *given)]
        return None

    def dense(
        self,
        x: Array,
        weights: Array,
        bias: Array | None,
        activation: Activation,
        z: Array,
        out: Array,
    ) -> Calls | None:
        kind = type(activation), bias is not None
        arrays = (x, weights, out) if bias is None else (x, weights, out, bias)
        if kind not in EPILOGUES or out is not z or not fusible(*arrays):
            return None
        unfused = self.matmul(x, weights, z), self.activate(activation, z, bias, out)
        fused = partial(self.fused_product, x, weights, out, EPILOGUES[kind], bias)
        return [partial(self._or_unfused, fused, *unfused)]

    def _or_unfused(self, fused: Callable[[], bool], *unfused: Calls | None) -> None:
        """Call the fused product, or where cuBLASLt refuses it, what it stands for."""
        if not fused():
            for calls in unfused:
                for call in calls or ():
                    call()

    def dense_gradient(
        self,
        x: Array,
        weights: Array,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        weight_gradient: Array | None,
        bias_gradient: Array | None,
        input_gradient: Array | None,
    ) -> Calls | None:
        # Other activations need a kernel for f' in any case, which sums up the bias's gradient too.
        if type(activation) is not Identity or bias_gradient is None or weight_gradient is None:
            return None
        if not fusible(x, gradient, weight_gradient, bias_gradient):
            return None
        unfused = (
            self.activation_gradient(activation, z, output, gradient, bias_gradient),
            self.matmul(x, gradient, weight_gradient, transpose_a=True),
        )
        given = x, gradient, weight_gradient, BIAS_GRADIENT, bias_gradient
        fused = partial(self.fused_product, *given, transpose_a=True)
        last = None
        if input_gradient is not None:
            last = self.matmul(gradient, weights, input_gradient, transpose_b=True)
            if last is None:
                return None
        return [partial(self._or_unfused, fused, *unfused), *(last or ())]

    def dropout(
        self, x: Array, rate: float | Array, key: int, passes: Array, out: Array, first: int = 0
    ) -> Calls | None:
        if not of_one_type(x, out, *moving(rate)):
            return None
        return [partial(dropout.dropout, x, rate, key, passes, out, first)]

    def rescale(self, x: Array, scale: float, offset: float, out: Array) -> Calls | None:
        return [partial(rows.rescale, x, scale, offset, out)]

    def standardize(self, x: Array, mean: Array, std: Array, out: Array) -> Calls | None:
        if not of_one_type(x, mean, std, out):
            return None
        return [partial(normalization.standardize, x, mean, std, out)]

    def unstandardize(
        self,
        x: Array,
        mean: Array,
        std: Array,
        least: Array | None,
        largest: Array | None,
        out: Array,
    ) -> Calls | None:
        bounds = [] if least is None or largest is None else [least, largest]
        if not of_one_type(x, mean, std, out, *bounds):
            return None
        return [partial(normalization.unstandardize, x, mean, std, *bounds, out)]

    def normalize(
        self,
        x: Array,
        mean: Array,
        variance: Array,
        epsilon: float,
        scale: Array | None,
        shift: Array | None,
        out: Array,
    ) -> Calls | None:
        given = [array for array in (scale, shift) if array is not None]
        if not of_one_type(x, mean, variance, out, *given):
            return None
        return [partial(normalization.normalize, x, mean, variance, epsilon, scale, shift, out)]

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
    ) -> Calls | None:
        given = x, scale, shift, running_mean, running_variance
        made = normalized, inverse_std, out
        if not contiguous(*given, *made):
            return None
        return [partial(normalization.batch_norm, *given, momentum, epsilon, *made, self.scratch)]

    def batch_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> Calls | None:
        arrays = gradient, normalized, inverse_std, scale, scale_gradient, shift_gradient
        if not contiguous(*arrays):
            return None
        return [partial(normalization.batch_norm_gradient, *arrays, self.scratch)]

    def layer_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        epsilon: float,
        normalized: Array,
        inverse_std: Array,
        out: Array,
    ) -> Calls | None:
        given = x, scale, shift
        made = normalized, inverse_std, out
        if not contiguous(*given, *made):
            return None
        return [partial(normalization.layer_norm, *given, epsilon, *made)]

    def layer_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_std: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> Calls | None:
        arrays = gradient, normalized, inverse_std, scale, scale_gradient, shift_gradient
        if not contiguous(*arrays):
            return None
        return [partial(normalization.layer_norm_gradient, *arrays, self.scratch)]

    # ----------------------------------------------------------------------- layers for tables

    def copy_columns(
        self, source: Array, first: int, out: Array, out_first: int, columns: int
    ) -> Calls | None:
        if not of_one_type(source, out):
            return None
        return [categories.copy_columns(source, first, out, out_first, columns)]

    def one_hot(
        self,
        codes: Array,
        sizes: Sequence[int],
        binary_as_sign: bool,
        levels: Array,
        out: Array,
    ) -> Calls | None:
        if not contiguous(codes, levels, out):
            return None
        return [categories.one_hot(codes, sizes, binary_as_sign, levels, out)]

    def embed(self, codes: Array, sizes: Sequence[int], table: Array, out: Array) -> Calls | None:
        if not contiguous(codes, table, out):
            return None
        return [categories.embed(codes, sizes, table, out)]

    def embed_gradient(
        self, codes: Array, sizes: Sequence[int], gradient: Array, table_gradient: Array
    ) -> Calls | None:
        if not contiguous(codes, gradient, table_gradient):
            return None
        return [categories.embed_gradient(codes, sizes, gradient, table_gradient)]

    def scale(self, x: Array, factors: Array, out: Array) -> Calls | None:
        if not of_one_type(x, factors, out):
            return None
        return [partial(members.scale, x, factors, out)]

    def scale_gradient(
        self,
        x: Array,
        factors: Array,
        gradient: Array,
        factors_gradient: Array,
        input_gradient: Array | None,
    ) -> Calls | None:
        arrays = x, factors, gradient, factors_gradient
        own = () if input_gradient is None else (input_gradient,)
        if not contiguous(*arrays, *own) or not x.size:
            return None
        return [partial(members.scale_gradient, *arrays, input_gradient, self.scratch)]

    def parametric_activate(
        self, activation: Activation, x: Array, alpha: Array, out: Array
    ) -> Calls | None:
        if type(activation) not in activations.FORMULAS or not of_one_type(x, alpha, out):
            return None
        return [partial(members.parametric, activation, x, alpha, out)]

    def parametric_activation_gradient(
        self,
        activation: Activation,
        x: Array,
        alpha: Array,
        gradient: Array,
        alpha_gradient: Array,
    ) -> Calls | None:
        arrays = x, alpha, gradient, alpha_gradient
        if type(activation) not in activations.FORMULAS or not contiguous(*arrays):
            return None
        return [partial(members.parametric_gradient, activation, *arrays, self.scratch)]

    def periodic(
        self, x: Array, frequencies: Array, phases: Array | None, out: Array
    ) -> Calls | None:
        given = [x, frequencies, out] if phases is None else [x, frequencies, out, phases]
        if not contiguous(*given):
            return None
        return [partial(numbers.periodic, x, frequencies, phases, out)]

    def periodic_gradient(
        self,
        x: Array,
        frequencies: Array,
        phases: Array | None,
        gradient: Array,
        frequencies_gradient: Array,
        phases_gradient: Array | None,
        input_gradient: Array | None,
    ) -> Calls | None:
        waves = x, frequencies, phases, gradient
        sums = frequencies_gradient, phases_gradient, input_gradient
        if not contiguous(*(array for array in (*waves, *sums) if array is not None)):
            return None
        return [partial(numbers.periodic_gradient, *waves, *sums, self.scratch)]

    def mean_over_members(self, x: Array, of: str, out: Array) -> Calls | None:
        if not contiguous(x, out):
            return None
        return [partial(member_means.mean_over_members, x, of, out)]

    def piecewise_linear(
        self, x: Array, starts: Array, slopes: Array, lowest: Array, highest: Array, out: Array
    ) -> Calls | None:
        arrays = x, starts, slopes, lowest, highest, out
        if not of_one_type(*arrays):
            return None
        return [partial(numbers.piecewise_linear, *arrays)]

    def piecewise_linear_gradient(
        self,
        x: Array,
        starts: Array,
        slopes: Array,
        lowest: Array,
        highest: Array,
        gradient: Array,
        input_gradient: Array,
    ) -> Calls | None:
        arrays = x, starts, slopes, lowest, highest, gradient, input_gradient
        if not contiguous(*arrays):
            return None
        return [partial(numbers.piecewise_linear_gradient, *arrays)]

    def group_matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Calls | None:
        if not contiguous(a, b, out):
            return None
        return [partial(self.product.by_groups, a, b, out, transpose_a, transpose_b)]

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
    ) -> Calls | None:
        labels = type(loss) in losses.OF_LABELS
        arrays = [predictions, weights, normalizer, loss_sum]
        arrays += moving(getattr(loss, "label_smoothing", 0.0))
        if gradient is not None:
            arrays.append(gradient)
        if type(loss) not in losses.LOSSES or not fitting(targets, labels, *arrays):
            return None
        given = predictions, targets, weights, normalizer, gradient, loss_sum
        return [partial(losses.add_loss, loss, *given, self.scratch)]

    def metric(
        self, metric: Metric, predictions: Array, targets: Array, weights: Array, summary: Array
    ) -> Calls | None:
        labels = isinstance(metric, ClassMetric) and predictions.shape[1] > 1
        add = metrics.METRICS.get(type(metric))
        if add is None or not fitting(targets, labels, predictions, weights, summary):
            return None
        return [partial(add, metric, predictions, targets, weights, summary, self.scratch)]

    def clip(self, gradients: Array, max_norm: float) -> Calls | None:
        if not contiguous(gradients):
            return None
        return [partial(sums.clip, gradients, max_norm, self.scratch)]

    def l2_penalty(
        self, values: Array, gradients: Array, weight: Array, strength: float, loss_sum: Array
    ) -> Calls | None:
        if not contiguous(values, gradients, weight, loss_sum):
            return None
        given = values, gradients, weight, strength, loss_sum
        return [partial(sums.l2_penalty, *given, self.scratch)]

    def update(
        self, optimizer: Optimizer, trained: Trained, learning_rate: Array, step: Array
    ) -> Calls | None:
        if not updatable(optimizer, trained, learning_rate):
            return None
        return optimizers.updates(optimizer, trained, learning_rate, step)

    def counted_update(
        self, counters: UpdateCounters, optimizer: Optimizer, trained: Trained
    ) -> Calls | None:
        if not updatable(optimizer, trained, *floating(counters)):
            return None
        if not optimizers.counts(trained):
            return None  # a launch that counts, and one for each segment
        given = counters, optimizer, trained, self.scratch
        return [partial(optimizers.counted_update, *given)]

    # -------------------------------------------------------------------------- loss scaling

    def scale_loss(
        self, weight: Array, scale: Array, normalizer: Array, finite: Array
    ) -> Calls | None:
        if not of_one_type(weight, scale, normalizer):
            return None
        return [partial(loss_scale.scale_loss, weight, scale, normalizer, finite)]

    def unscale(self, gradients: Array, scale: Array, finite: Array) -> Calls | None:
        if not of_one_type(gradients, scale):
            return None
        return [partial(loss_scale.unscale, gradients, scale, finite)]

    def update_if_finite(
        self,
        finite: Array,
        optimizer: Optimizer,
        trained: Trained,
        learning_rate: Array,
        step: Array,
    ) -> Calls | None:
        if not updatable(optimizer, trained, learning_rate):
            return None
        return optimizers.updates(optimizer, trained, learning_rate, step, finite)

    def adjust_loss_scale(
        self,
        finite: Array,
        scale: Array,
        good_updates: Array,
        updates: Array,
        interval: int,
        smallest: float,
        largest: float,
    ) -> Calls | None:
        given = finite, scale, good_updates, updates, interval, smallest, largest
        return [partial(loss_scale.adjust_loss_scale, *given)]


def floating(counters: UpdateCounters) -> list[Array]:
    """Return the arrays among them that are of the network's type, rather than int64."""
    return [each for each in counters if each.dtype.kind == "f"]


def updatable(optimizer: Optimizer, trained: Trained, *numbers: Array) -> bool:
    """Return whether there is a kernel for an update of these arrays."""
    values, gradients, slots, _ = trained
    numbers = *numbers, *moving(optimizer.weight_decay)
    known = type(optimizer) in optimizers.RULES
    return known and contiguous(values, gradients, *numbers, *slots.values())


def moving(setting: object) -> list[Array]:
    """Return the array of a setting that a schedule moves, and none for a number."""
    return [] if isinstance(setting, float) else [setting]


def of_one_type(*arrays: Array) -> bool:
    """Return whether all arrays are of one type, float32 or float64."""
    dtype = arrays[0].dtype
    return dtype.kind == "f" and dtype in C_TYPES and all(a.dtype == dtype for a in arrays)


def contiguous(*arrays: Array) -> bool:
    """Return whether all arrays are C-contiguous and of one type: a raw kernel can take them."""
    return of_one_type(*arrays) and all(a.flags.c_contiguous for a in arrays)


def fusible(*arrays: Array) -> bool:
    """Return whether a fused product can take all arrays."""
    return contiguous(*arrays) and arrays[0].dtype in FUSIBLE_TYPES


def fitting(targets: Array, labels: bool, *arrays: Array) -> bool:
    """Return whether a raw kernel can take targets (integer labels only if `labels`) and arrays."""
    if targets.ndim == 2:
        return contiguous(targets, *arrays)
    return labels and targets.dtype == INT64 and targets.flags.c_contiguous and contiguous(*arrays)
