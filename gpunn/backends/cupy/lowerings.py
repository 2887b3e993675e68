"""Translate (lower) each operation to one or a few kernel launches.

If a custom class can't be traced, or the arrays' types or strides don't fit, a lowering returns
None, and the operation's definition runs on the device. No call waits for the device, or allocates
memory once scratch memory has its final size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias

import cupy
import numpy as np

from gpunn.activations import Identity, ReLU
from gpunn.backends.collective import Collective
from gpunn.backends.cupy.expressions import identifier, printed, traced_function, traced_rule
from gpunn.backends.cupy.kernels import (
    activations,
    categories,
    counters,
    dropout,
    loss_scale,
    member_means,
    members,
    metrics,
    normalization,
    numbers,
    optimizers,
    patches,
    row_normalization,
    rows,
    sums,
    windows,
)
from gpunn.backends.cupy.kernels.raw import C_TYPES, Calls
from gpunn.backends.cupy.matmul.cublaslt import BIAS_GRADIENT
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.cupy.weight_gradients import WeightGradient
from gpunn.backends.operations import Operations
from gpunn.backends.recording import Arguments
from gpunn.backends.tracing import if_traceable
from gpunn.expressions import Untraceable
from gpunn.losses import Loss
from gpunn.metrics import ClassMetric, Metric
from gpunn.typing import Array

Condition: TypeAlias = Callable[[Arguments], bool]
Lowering: TypeAlias = Callable[["CupyLowerings", Arguments], Calls | None]

INT64 = np.dtype(np.int64)
FUSIBLE_TYPES = {np.dtype(np.float32)}

# ------------------------------------------------------------------- conditions on arrays


def of_one_type(*arrays: Array) -> bool:
    dtype = arrays[0].dtype
    return dtype.kind == "f" and dtype in C_TYPES and all(a.dtype == dtype for a in arrays)


def contiguous(*arrays: Array) -> bool:
    return of_one_type(*arrays) and all(a.flags.c_contiguous for a in arrays)


def fusible(*arrays: Array) -> bool:
    return contiguous(*arrays) and arrays[0].dtype in FUSIBLE_TYPES


def arrays_of(op: Arguments, *but: str) -> list[Array]:
    named = vars(op).items()
    return [each for name, each in named if isinstance(each, cupy.ndarray) and name not in but]


def anything(op: Arguments) -> bool:
    return True


def strided(*but: str) -> Condition:
    return lambda op: of_one_type(*arrays_of(op, *but))


def packed(op: Arguments) -> bool:
    return contiguous(*arrays_of(op))


def filled(op: Arguments) -> bool:
    return packed(op) and all(array.size for array in arrays_of(op))


def derivable(op: Arguments) -> bool:
    derivative: str = op.f.formula.derivative
    return derivative != ""


def scalable(op: Arguments) -> bool:
    in_place = op.input_gradient is op.gradient and op.x.shape == op.gradient.shape
    sums = op.bias_gradient is not None and op.x.size > 0
    return in_place and sums and derivable(op) and contiguous(*arrays_of(op, "passes"))


def batched(op: Arguments) -> bool:
    arrays = *op.sources, *op.outs
    known = all(array.dtype in rows.TYPES for array in arrays)
    return known and all(array.flags.c_contiguous for array in (op.order, *arrays))


def counted(op: Arguments) -> bool:
    return of_one_type(*floating_point_counters(op))


def floating_point_counters(op: Arguments) -> list[Array]:
    # All other counters are int64.
    return [each for each in op.counters if each.dtype.kind == "f"]


def updatable(op: Arguments, *numbers: Array) -> bool:
    values, gradients, slots, _ = op.trained
    arrays = values, gradients, *numbers, *moving(op.optimizer.weight_decay), *slots.values()
    return contiguous(*arrays)


def moving(setting: object) -> list[Array]:
    return [] if isinstance(setting, float) else [setting]


def accepts_targets(targets: Array, labels: bool, *arrays: Array) -> bool:
    if targets.ndim == 2:
        return contiguous(targets, *arrays)
    return labels and targets.dtype == INT64 and targets.flags.c_contiguous and contiguous(*arrays)


# ----------------------------------------------------------------------------- lowerings


def prepared(function: Callable[[Arguments], Calls], condition: Condition = anything) -> Lowering:
    return lambda launches, op: function(op) if condition(op) else None


def direct(kernel: Any, names: str, condition: Condition = anything) -> Lowering:
    arguments = attrgetter(*names.split())
    return prepared(lambda op: [partial(kernel, *arguments(op))], condition)


def launched(
    function: Callable[[Arguments, Scratch], None], condition: Condition = packed
) -> Lowering:
    return lambda launches, op: [partial(function, op, launches.scratch)] if condition(op) else None


def activated(lowering: Lowering) -> Lowering:
    def lower(launches: CupyLowerings, op: Arguments) -> Calls | None:
        z = op.z if hasattr(op, "z") else op.x
        f = activations.function_of(op.activation)
        if f is None and z.dtype in C_TYPES:
            make = partial(traced_function, op.activation, z.shape, z.dtype)
            f = if_traceable(make, type(op.activation))
        return None if f is None else lowering(launches, op.replace(f=f))

    return lower


def ruled(lowering: Lowering) -> Lowering:
    def lower(launches: CupyLowerings, op: Arguments) -> Calls | None:
        optimizer, dtype = op.optimizer, op.trained.values.dtype
        make = partial(traced_rule, optimizer, dtype)
        rule = if_traceable(make, type(optimizer)) if dtype in C_TYPES else None
        return None if rule is None else lowering(launches, op.replace(rule=rule))

    return lower


class CupyLowerings:
    def __init__(self, product: Any, fused_product: Any, scratch: Scratch) -> None:
        self.product, self.fused_product, self.scratch = product, fused_product, scratch

    assign = direct(rows.ASSIGN, "values out")
    take = prepared(rows.take)
    gather_rows = prepared(rows.gather_rows)
    next_batch = launched(rows.next_batch, batched)
    sum = launched(sums.set_sum)
    count_finite = direct(rows.COUNT_FINITE, "loss_sum out")
    count_update = prepared(counters.count_update, counted)

    activate = activated(prepared(activations.forward, strided()))
    dropout = prepared(dropout.dropout, strided("passes"))
    activate_dropout = activated(prepared(activations.fused_forward, strided("passes")))
    scale_activate = activate_dropout
    scale_activate_dropout = activate_dropout
    rescale = direct(rows.RESCALE, "x scale offset out")
    standardize = direct(normalization.STANDARDIZE, "x mean std out", strided())
    unstandardize = prepared(normalization.unstandardize, strided())
    normalize = prepared(normalization.normalize, strided())
    batch_norm = launched(normalization.batch_norm)
    batch_norm_gradient = launched(normalization.batch_norm_gradient)
    layer_norm = prepared(row_normalization.layer_norm, packed)
    layer_norm_activate = activated(prepared(row_normalization.layer_norm_activate, packed))
    layer_norm_gradient = launched(row_normalization.layer_norm_gradient)
    layer_norm_activation_gradient = activated(
        launched(row_normalization.layer_norm_activation_gradient)
    )

    max_pool = prepared(windows.max_pool, strided())
    max_pool_gradient = prepared(windows.max_pool_gradient, strided())
    average_pool = prepared(windows.average_pool, strided())
    average_pool_gradient = prepared(windows.average_pool_gradient, strided())
    multiply_channels = prepared(windows.multiply_channels, strided())
    upsample = prepared(windows.upsample, strided())

    copy_columns = prepared(categories.copy_columns, strided())
    one_hot = prepared(categories.one_hot, packed)
    embed = prepared(categories.embed, packed)
    embed_gradient = prepared(categories.embed_gradient, packed)
    scale = direct(members.SCALE, "x factors out", strided())
    scale_gradient = launched(members.scale_gradient, lambda op: op.x.size > 0 and packed(op))
    parametric_activate = activated(prepared(members.parametric, strided()))
    parametric_activation_gradient = activated(launched(members.parametric_gradient))
    periodic = prepared(numbers.periodic, packed)
    periodic_gradient = launched(numbers.periodic_gradient)
    piecewise_linear = prepared(numbers.piecewise_linear, strided())
    piecewise_linear_gradient = prepared(numbers.piecewise_linear_gradient, packed)
    mean_over_members = prepared(member_means.mean_over_members, packed)

    clip = launched(sums.clip)
    l2_penalty = launched(sums.l2_penalty)
    update = ruled(prepared(optimizers.updates, lambda op: updatable(op, op.learning_rate)))
    update_if_finite = update
    scale_loss = direct(loss_scale.SCALE_LOSS, "weight scale normalizer finite", strided("finite"))
    unscale = direct(loss_scale.UNSCALE, "scale gradients finite", strided("finite"))
    adjust_loss_scale = direct(
        loss_scale.ADJUST_LOSS_SCALE,
        "finite interval smallest largest scale good_updates updates",
    )

    def call(self, op: Arguments) -> Calls | None:
        return [op.function] if isinstance(op.function, Collective) else None

    @activated
    def activation_gradient(self, op: Arguments) -> Calls | None:
        if not of_one_type(*arrays_of(op)):
            return None
        if op.bias_gradient is None:
            return activations.backward(op)
        if op.gradient.ndim > 1 and packed(op):
            return [partial(activations.backward_with_bias, op, self.scratch)]
        return None

    @activated
    def dropout_activation_gradient(self, op: Arguments) -> Calls | None:
        if not derivable(op) or not of_one_type(*arrays_of(op, "passes")):
            return None
        if op.bias_gradient is None:
            return activations.backward_after_dropout(op)
        if op.gradient.ndim > 1 and contiguous(*arrays_of(op, "passes")):
            dropped = activations.dropout_of(op)
            return [partial(activations.backward_with_bias, op, self.scratch, dropped)]
        return None

    @activated
    def activation_scale_gradient(self, op: Arguments) -> Calls | None:
        if not scalable(op):
            return None
        scaled = op.x, op.factors, op.factors_gradient
        return [partial(activations.backward_with_bias, op, self.scratch, scaled=scaled)]

    @activated
    def dropout_activation_scale_gradient(self, op: Arguments) -> Calls | None:
        if not scalable(op):
            return None
        dropped, scaled = activations.dropout_of(op), (op.x, op.factors, op.factors_gradient)
        return [partial(activations.backward_with_bias, op, self.scratch, dropped, scaled)]

    def loss(self, op: Arguments) -> Calls | None:
        return self._traced("loss", op, op.loss)

    def metric(self, op: Arguments) -> Calls | None:
        add = metrics.METRICS.get(type(op.metric))
        if add is None:
            return self._traced("metric", op, op.metric)
        labels = isinstance(op.metric, ClassMetric) and op.predictions.shape[1] > 1
        if not accepts_targets(op.targets, labels, *arrays_of(op, "targets")):
            return None
        return [partial(add, op, self.scratch)]

    def compute(self, op: Arguments) -> Calls | None:
        try:
            return self._printed("gpunn_compute", "compute", op, op.expression, op.outs[0].dtype)
        except Untraceable:  # such as an array that isn't contiguous
            return None

    def _traced(self, name: str, op: Arguments, part: Loss | Metric) -> Calls | None:
        dtype = op.weights.dtype
        if dtype not in C_TYPES or not op.weights.size:
            return None
        kernel = f"gpunn_{identifier(part)}_{name}"
        return if_traceable(partial(self._printed, kernel, name, op, part, dtype), type(part))

    def _printed(self, kernel: str, name: str, op: Arguments, part: Any, dtype: np.dtype) -> Calls:
        try:
            kernels = printed(kernel, getattr(Operations, name).definition, op, part, dtype)
            return [partial(each, self.scratch) for each in kernels]
        except RecursionError as error:
            raise Untraceable("a formula is too long") from error

    @ruled
    def counted_update(self, op: Arguments) -> Calls | None:
        if not updatable(op, *floating_point_counters(op)):
            return None
        if not optimizers.counts(op.trained):
            return None  # the definition counts the update, and launches an update per segment
        return [partial(optimizers.counted_update, op, self.scratch)]

    @ruled
    def clipped_update(self, op: Arguments) -> Calls | None:
        if not updatable(op, *floating_point_counters(op)) or not optimizers.counts(op.trained):
            return None
        return [partial(optimizers.clipped_update, op, self.scratch)]

    # ------------------------------------------------------------------------------ products

    def matmul(self, op: Arguments) -> Calls | None:
        if not contiguous(op.out) or not of_one_type(op.a, op.b, op.out):
            return None
        return product_of(self.product, op)

    def group_matmul(self, op: Arguments) -> Calls | None:
        return product_of(self.product.by_groups, op) if packed(op) else None

    def dense(self, op: Arguments) -> Calls | None:
        epilogue = activations.EPILOGUES.get((type(op.activation), op.bias is not None))
        if epilogue is None or op.out is not op.z or not fusible(*arrays_of(op)):
            return None
        op = op.replace(f=activations.function_of(op.activation))
        product = partial(self.product, op.x, op.weights, op.z, False, False)
        fused = partial(self.fused_product, op.x, op.weights, op.out, epilogue, op.bias)
        return [partial(fused_or_separate, fused, [product, *activations.forward(op)])]

    def dense_gradient(self, op: Arguments) -> Calls | None:
        x, gradient, result = op.x, op.gradient, op.input_gradient
        made = op.weight_gradient, op.bias_gradient
        # Other activations need a kernel for f' anyway, which also sums the bias's gradient.
        if type(op.activation) is not Identity or any(array is None for array in made):
            return None
        if not fusible(x, op.z, op.output, gradient, *made):
            return None
        if result is not None and not fusible(op.weights, result):
            return None
        f = activations.function_of(op.activation)
        sums = partial(activations.backward_with_bias, op.replace(f=f), self.scratch)
        product = partial(self.product, x, gradient, made[0], True, False)
        operands = x, gradient, made[0], BIAS_GRADIENT, made[1]
        fused = partial(self.fused_product, *operands, transpose_a=True)
        weights = partial(fused_or_separate, fused, [sums, product])
        calls: Calls = [WeightGradient(weights, [x, op.z, op.output, gradient], made)]
        if result is not None:
            calls.append(partial(self.product, gradient, op.weights, result, False, True))
        return calls

    def convolution(self, op: Arguments) -> Calls | None:
        return patches.convolution(self, op, Identity()) if filled(op) else None

    def convolution_weights(self, op: Arguments) -> Calls | None:
        if not filled(op):
            return None
        call = patches.weights_gradient(self, op)
        return [WeightGradient(call, [op.x, op.gradient], [op.out])]

    def convolution_inputs(self, op: Arguments) -> Calls | None:
        return patches.inputs_gradient(self, op) if filled(op) else None

    def convolve(self, op: Arguments) -> Calls | None:
        # Other activations have separate kernels, which may also contain dropout.
        if type(op.activation) is not ReLU or op.z is not op.out or not filled(op):
            return None
        return patches.convolution(self, op, op.activation)


def product_of(function: Callable[..., None], op: Arguments) -> Calls:
    call = partial(function, op.a, op.b, op.out, op.transpose_a, op.transpose_b)
    return [WeightGradient(call, [op.a, op.b], [op.out])] if op.transpose_a else [call]


def fused_or_separate(fused: Callable[[], bool], separate: Calls) -> None:
    if not fused():
        for call in separate:
            call()
