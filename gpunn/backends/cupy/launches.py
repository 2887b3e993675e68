"""Operations as launches of kernels: one, or very few, for each.

For each operation that has a kernel there is a method. It takes the arguments, and returns what is
to be called, in order. None means that the definition does it, on the device all the same: an
activation, loss, metric or optimizer that isn't built in, arrays of mixed types, and for the raw
kernels also strides. Matrix products go to cuBLAS. Nothing here waits for the device, and no call
allocates once its scratch memory has its size.
"""

from __future__ import annotations

from collections.abc import Callable
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
from gpunn.backends.recording import Arguments
from gpunn.metrics import ClassMetric
from gpunn.typing import Array

if TYPE_CHECKING:
    from gpunn.backends.operations import Trained, UpdateCounters
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

    def call(self, ask: Arguments) -> Calls | None:
        return [ask.function] if isinstance(ask.function, Collective) else None

    def assign(self, ask: Arguments) -> Calls | None:
        return [partial(rows.assign, ask.values, ask.out)]

    def take(self, ask: Arguments) -> Calls | None:
        return [partial(rows.take, ask.table, ask.index, ask.out)]

    def gather_rows(self, ask: Arguments) -> Calls | None:
        return [partial(rows.gather_rows, ask.source, ask.order, ask.start, ask.out)]

    def sum(self, ask: Arguments) -> Calls | None:
        if not contiguous(ask.values, ask.out):
            return None
        return [partial(sums.set_sum, ask.values, ask.values.size, ask.out, self.scratch)]

    def count_finite(self, ask: Arguments) -> Calls | None:
        return [partial(rows.count_finite, ask.loss_sum, ask.out)]

    def next_batch(self, ask: Arguments) -> Calls | None:
        arrays = *ask.sources, *ask.outs
        known = all(array.dtype in rows.TYPES for array in arrays)
        if not known or not all(array.flags.c_contiguous for array in (ask.order, *arrays)):
            return None
        return [partial(rows.next_batch, **vars(ask), scratch=self.scratch)]

    def count_update(self, ask: Arguments) -> Calls | None:
        if not of_one_type(*floating(ask.counters)):
            return None
        return [partial(count_update, ask.counters)]

    # ----------------------------------------------------------------------------- layers

    def matmul(self, ask: Arguments) -> Calls | None:
        return self._product_of(**vars(ask))

    def _product_of(
        self, a: Array, b: Array, out: Array, transpose_a: bool = False, transpose_b: bool = False
    ) -> Calls | None:
        if not contiguous(out) or not of_one_type(a, b, out):
            return None
        return [partial(self.product, a, b, out, transpose_a, transpose_b)]

    def activate(self, ask: Arguments) -> Calls | None:
        if type(ask.activation) not in activations.FORMULAS or not of_one_type(*ask.arrays):
            return None
        return [partial(activations.forward, ask.activation, ask.z, ask.bias, ask.out)]

    def activation_gradient(self, ask: Arguments) -> Calls | None:
        arrays = ask.z, ask.output, ask.gradient
        if type(ask.activation) not in activations.FORMULAS or not of_one_type(*arrays):
            return None
        if ask.bias_gradient is None:
            return [partial(activations.backward, ask.activation, *arrays)]
        if ask.gradient.ndim > 1 and contiguous(*arrays, ask.bias_gradient):
            given = *arrays, ask.bias_gradient, self.scratch
            return [partial(activations.backward_with_bias, ask.activation, *given)]
        return None

    def dense(self, ask: Arguments) -> Calls | None:
        kind = type(ask.activation), ask.bias is not None
        arrays = [ask.x, ask.weights, ask.out, *given(ask.bias)]
        if kind not in EPILOGUES or ask.out is not ask.z or not fusible(*arrays):
            return None
        unfused = self._product_of(ask.x, ask.weights, ask.z), self.activate(ask)
        fused = partial(self.fused_product, ask.x, ask.weights, ask.out, EPILOGUES[kind], ask.bias)
        return [partial(self._or_unfused, fused, *unfused)]

    def _or_unfused(self, fused: Callable[[], bool], *unfused: Calls | None) -> None:
        """Call the fused product, or where cuBLASLt refuses it, what it stands for."""
        if not fused():
            for calls in unfused:
                for call in calls or ():
                    call()

    def dense_gradient(self, ask: Arguments) -> Calls | None:
        # Other activations need a kernel for f' in any case, which sums up the bias's gradient too.
        sums = ask.weight_gradient, ask.bias_gradient
        if type(ask.activation) is not Identity or len(given(*sums)) < 2:
            return None
        if not fusible(ask.x, ask.gradient, *sums):
            return None
        unfused = (
            self.activation_gradient(ask),
            self._product_of(ask.x, ask.gradient, ask.weight_gradient, transpose_a=True),
        )
        wanted = ask.x, ask.gradient, ask.weight_gradient, BIAS_GRADIENT, ask.bias_gradient
        fused = partial(self.fused_product, *wanted, transpose_a=True)
        last = None
        if ask.input_gradient is not None:
            last = self._product_of(ask.gradient, ask.weights, ask.input_gradient, transpose_b=True)
            if last is None:
                return None
        return [partial(self._or_unfused, fused, *unfused), *(last or ())]

    def dropout(self, ask: Arguments) -> Calls | None:
        if not of_one_type(ask.x, ask.out, *moving(ask.rate)):
            return None
        return [partial(dropout.dropout, ask.x, ask.rate, ask.key, ask.passes, ask.out, ask.first)]

    def rescale(self, ask: Arguments) -> Calls | None:
        return [partial(rows.rescale, **vars(ask))]

    def standardize(self, ask: Arguments) -> Calls | None:
        if not of_one_type(ask.x, ask.mean, ask.std, ask.out):
            return None
        return [partial(normalization.standardize, ask.x, ask.mean, ask.std, ask.out)]

    def unstandardize(self, ask: Arguments) -> Calls | None:
        bounds = [] if ask.least is None or ask.largest is None else [ask.least, ask.largest]
        if not of_one_type(ask.x, ask.mean, ask.std, ask.out, *bounds):
            return None
        return [partial(normalization.unstandardize, ask.x, ask.mean, ask.std, *bounds, ask.out)]

    def normalize(self, ask: Arguments) -> Calls | None:
        if not of_one_type(*ask.arrays):
            return None
        return [partial(normalization.normalize, **vars(ask))]

    def batch_norm(self, ask: Arguments) -> Calls | None:
        if not contiguous(*ask.arrays):
            return None
        return [partial(normalization.batch_norm, **vars(ask), scratch=self.scratch)]

    def batch_norm_gradient(self, ask: Arguments) -> Calls | None:
        if not contiguous(*ask.arrays):
            return None
        return [partial(normalization.batch_norm_gradient, **vars(ask), scratch=self.scratch)]

    def layer_norm(self, ask: Arguments) -> Calls | None:
        if not contiguous(*ask.arrays):
            return None
        return [partial(normalization.layer_norm, **vars(ask))]

    def layer_norm_gradient(self, ask: Arguments) -> Calls | None:
        if not contiguous(*ask.arrays):
            return None
        return [partial(normalization.layer_norm_gradient, **vars(ask), scratch=self.scratch)]

    # ----------------------------------------------------------------------- layers for tables

    def copy_columns(self, ask: Arguments) -> Calls | None:
        if not of_one_type(ask.source, ask.out):
            return None
        return [categories.copy_columns(ask.source, ask.first, ask.out, ask.out_first, ask.columns)]

    def one_hot(self, ask: Arguments) -> Calls | None:
        if not contiguous(ask.codes, ask.levels, ask.out):
            return None
        return [categories.one_hot(ask.codes, ask.sizes, ask.binary_as_sign, ask.levels, ask.out)]

    def embed(self, ask: Arguments) -> Calls | None:
        if not contiguous(ask.codes, ask.table, ask.out):
            return None
        return [categories.embed(ask.codes, ask.sizes, ask.table, ask.out)]

    def embed_gradient(self, ask: Arguments) -> Calls | None:
        if not contiguous(ask.codes, ask.gradient, ask.table_gradient):
            return None
        return [categories.embed_gradient(ask.codes, ask.sizes, ask.gradient, ask.table_gradient)]

    def scale(self, ask: Arguments) -> Calls | None:
        if not of_one_type(ask.x, ask.factors, ask.out):
            return None
        return [partial(members.scale, ask.x, ask.factors, ask.out)]

    def scale_gradient(self, ask: Arguments) -> Calls | None:
        arrays = ask.x, ask.factors, ask.gradient, ask.factors_gradient
        own = () if ask.input_gradient is None else (ask.input_gradient,)
        if not contiguous(*arrays, *own) or not ask.x.size:
            return None
        return [partial(members.scale_gradient, *arrays, ask.input_gradient, self.scratch)]

    def parametric_activate(self, ask: Arguments) -> Calls | None:
        if type(ask.activation) not in activations.FORMULAS or not of_one_type(*ask.arrays):
            return None
        return [partial(members.parametric, ask.activation, ask.x, ask.alpha, ask.out)]

    def parametric_activation_gradient(self, ask: Arguments) -> Calls | None:
        arrays = ask.x, ask.alpha, ask.gradient, ask.alpha_gradient
        if type(ask.activation) not in activations.FORMULAS or not contiguous(*arrays):
            return None
        return [partial(members.parametric_gradient, ask.activation, *arrays, self.scratch)]

    def periodic(self, ask: Arguments) -> Calls | None:
        if not contiguous(*ask.arrays):
            return None
        return [partial(numbers.periodic, **vars(ask))]

    def periodic_gradient(self, ask: Arguments) -> Calls | None:
        if not contiguous(*ask.arrays):
            return None
        return [partial(numbers.periodic_gradient, **vars(ask), scratch=self.scratch)]

    def mean_over_members(self, ask: Arguments) -> Calls | None:
        if not contiguous(ask.x, ask.out):
            return None
        return [partial(member_means.mean_over_members, ask.x, ask.of, ask.out)]

    def piecewise_linear(self, ask: Arguments) -> Calls | None:
        if not of_one_type(*ask.arrays):
            return None
        return [partial(numbers.piecewise_linear, **vars(ask))]

    def piecewise_linear_gradient(self, ask: Arguments) -> Calls | None:
        if not contiguous(*ask.arrays):
            return None
        return [partial(numbers.piecewise_linear_gradient, **vars(ask))]

    def group_matmul(self, ask: Arguments) -> Calls | None:
        if not contiguous(ask.a, ask.b, ask.out):
            return None
        return [
            partial(self.product.by_groups, ask.a, ask.b, ask.out, ask.transpose_a, ask.transpose_b)
        ]

    # -------------------------------------------------------------- losses, metrics, updates

    def loss(self, ask: Arguments) -> Calls | None:
        labels = type(ask.loss) in losses.OF_LABELS
        arrays = [ask.predictions, ask.weights, ask.normalizer, ask.loss_sum, *given(ask.gradient)]
        arrays += moving(getattr(ask.loss, "label_smoothing", 0.0))
        if type(ask.loss) not in losses.LOSSES or not fitting(ask.targets, labels, *arrays):
            return None
        return [partial(losses.add_loss, **vars(ask), scratch=self.scratch)]

    def metric(self, ask: Arguments) -> Calls | None:
        labels = isinstance(ask.metric, ClassMetric) and ask.predictions.shape[1] > 1
        add = metrics.METRICS.get(type(ask.metric))
        arrays = ask.predictions, ask.weights, ask.summary
        if add is None or not fitting(ask.targets, labels, *arrays):
            return None
        wanted = ask.metric, ask.predictions, ask.targets, ask.weights, ask.summary
        return [partial(add, *wanted, self.scratch)]

    def clip(self, ask: Arguments) -> Calls | None:
        if not contiguous(ask.gradients):
            return None
        return [partial(sums.clip, ask.gradients, ask.max_norm, self.scratch)]

    def l2_penalty(self, ask: Arguments) -> Calls | None:
        if not contiguous(ask.values, ask.gradients, ask.weight, ask.loss_sum):
            return None
        given = ask.values, ask.gradients, ask.weight, ask.strength, ask.loss_sum
        return [partial(sums.l2_penalty, *given, self.scratch)]

    def update(self, ask: Arguments) -> Calls | None:
        if not updatable(ask.optimizer, ask.trained, ask.learning_rate):
            return None
        return optimizers.updates(ask.optimizer, ask.trained, ask.learning_rate, ask.step)

    def counted_update(self, ask: Arguments) -> Calls | None:
        if not updatable(ask.optimizer, ask.trained, *floating(ask.counters)):
            return None
        if not optimizers.counts(ask.trained):
            return None  # a launch that counts, and one for each segment
        given = ask.counters, ask.optimizer, ask.trained, self.scratch
        return [partial(optimizers.counted_update, *given)]

    # -------------------------------------------------------------------------- loss scaling

    def scale_loss(self, ask: Arguments) -> Calls | None:
        if not of_one_type(ask.weight, ask.scale, ask.normalizer):
            return None
        return [partial(loss_scale.scale_loss, ask.weight, ask.scale, ask.normalizer, ask.finite)]

    def unscale(self, ask: Arguments) -> Calls | None:
        if not of_one_type(ask.gradients, ask.scale):
            return None
        return [partial(loss_scale.unscale, ask.gradients, ask.scale, ask.finite)]

    def update_if_finite(self, ask: Arguments) -> Calls | None:
        if not updatable(ask.optimizer, ask.trained, ask.learning_rate):
            return None
        return optimizers.updates(
            ask.optimizer, ask.trained, ask.learning_rate, ask.step, ask.finite
        )

    def adjust_loss_scale(self, ask: Arguments) -> Calls | None:
        return [partial(loss_scale.adjust_loss_scale, **vars(ask))]


def floating(counters: UpdateCounters) -> list[Array]:
    """Return the arrays among them that are of the network's type, rather than int64."""
    return [each for each in counters if each.dtype.kind == "f"]


def updatable(optimizer: Optimizer, trained: Trained, *numbers: Array) -> bool:
    """Return whether there is a kernel for an update of these arrays."""
    values, gradients, slots, _ = trained
    numbers = *numbers, *moving(optimizer.weight_decay)
    known = type(optimizer) in optimizers.RULES
    return known and contiguous(values, gradients, *numbers, *slots.values())


def given(*arrays: Array | None) -> list[Array]:
    """Return the arrays that are not None."""
    return [array for array in arrays if array is not None]


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
