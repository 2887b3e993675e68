"""Warn before training about networks and data that probably contain a mistake."""

import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from gpunn.activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    ExactGELU,
    HardSigmoid,
    HardSwish,
    HardTanh,
    Identity,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from gpunn.data.column_statistics import chunks_of, mean_and_std
from gpunn.errors import ArgumentError, GpunnWarning
from gpunn.layers import Activation as ActivationLayer
from gpunn.layers import Dense, Dropout, Flatten, Rescaling
from gpunn.layers.base import synchronizing
from gpunn.losses import (
    Huber,
    LogCosh,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Quantile,
    Quantiles,
)
from gpunn.meaning import check_class_count
from gpunn.metrics import BinaryAccuracy, BrierScore, LogLoss, Metric, regression
from gpunn.metrics.confusion import CountMetric
from gpunn.network import Sequential
from gpunn.training.batches.epoch_cursor import EpochPlan

PACKAGE = str(Path(__file__).parents[1])

MIN_STD, LARGEST_STD = 0.1, 100.0
"""Without scaling, a network can learn targets whose standard deviation is within these bounds."""

LARGEST_MEAN, LARGEST_RATIO = 100.0, 9.0
"""Without scaling, a network can learn targets up to this mean, and up to this ratio mean / std."""

LOWEST = {
    GELU: -0.171,
    ExactGELU: -0.17,
    SELU: -SELU.scale * SELU.alpha,
    HardSwish: -0.375,
    SiLU: -0.279,
    Mish: -0.309,
}

BOUNDS = {
    **dict.fromkeys((Sigmoid, HardSigmoid), (0.0, 1.0)),
    **dict.fromkeys((Tanh, HardTanh, Softsign), (-1.0, 1.0)),
    **dict.fromkeys((ReLU, Softplus), (0.0, math.inf)),
    ReLU6: (0.0, 6.0),
}

REGRESSION = (MeanSquaredError, MeanAbsoluteError, Huber, LogCosh, Quantile, Quantiles)
"""Losses that compare the outputs directly with the targets."""

OF_NUMBERS = (regression.MeanAbsoluteError, regression.RootMeanSquaredError, regression.R2)

EVERYTHING = (-math.inf, math.inf)

EXPECTS = {
    "softmax": "expects logits, which can be any real numbers, and applies the softmax itself",
    "sigmoid": "expects logits, which can be any real numbers, and applies the sigmoid itself",
    "exponential": "expects the logarithm of a mean, which can be any real number",
}


def warn(text: str) -> None:
    """Issue a warning that names the user's line, not a line of gpunn."""
    frame: FrameType | None = sys._getframe()
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, GpunnWarning, level)


def check_classes(model: Sequential, loss: Loss) -> None:
    outputs, activation = model.output_shape[0], loss.output_activation
    classifies = activation == "softmax" or (activation == "sigmoid" and outputs == 1)
    if classifies and (classes := model.classes) is not None:
        check_class_count(classes, outputs, "classes")


# -------------------------------------------------------------------------- rows of a batch


def check_batch_statistics(model: Sequential, plan: EpochPlan, shards: int = 1) -> None:
    # A layer that normalizes over a single row has the same output for all rows, and no gradient
    # passes through it. If only the last batch of an epoch has a single row, a warning is enough.
    label = normalizing(model)
    if label is None or plan.members > 1:
        return
    rows, batch_size = plan.visited, plan.batch_size
    if batch_size < 2 * shards:
        few = "each batch" if shards == 1 else f"a shard of each batch ({shards} shards)"
        raise ArgumentError(
            f"batch_size: layer {label!r} normalizes over the rows of a batch, but {few} has one "
            "row. So outputs would be the same for all rows, and earlier layers would not learn. "
            f"Give {'more rows, and ' if rows == 1 else ''}batch_size={2 * shards} or more, or "
            "replace the layer by 'layer_norm'"
        )
    if 0 < rows % batch_size < 2 * shards:
        part, note = ("", "") if shards == 1 else ("a shard of ", f" ({shards} shards)")
        warn_of_single_row(
            model,
            f"{rows} rows in batches of {batch_size} leave one row for {part}the last batch of an "
            f"epoch{note}",
            "Choose another batch_size, or set drop_last=True",
        )


def warn_of_single_row(model: Sequential, reason: str, remedy: str) -> None:
    if (label := normalizing(model)) is not None:
        warn(
            f"layer {label!r}: normalizes over the rows of a batch, but {reason}. Earlier layers "
            "learn nothing from a single row, and the row shrinks the running variance. " + remedy
        )


def normalizing(model: Sequential) -> str | None:
    # For images and signals, each pixel or position counts as a row, so one row is enough.
    shapes = (model.input_shape, *model.shapes)
    for label, layer, shape in zip(model.labels, model.layers, shapes, strict=False):
        if math.prod(shape[:-1]) == 1 and synchronizing([layer]):
            return label
    return None


# ------------------------------------------------------------------------------ the last layer


def warn_of_outputs(
    model: Sequential, loss: Loss, metrics: Sequence[Metric], targets: np.ndarray
) -> None:
    for metric in metrics if loss.output_activation == "exponential" else ():
        if isinstance(metric, OF_NUMBERS):
            warn(
                f"metric {metric.name!r} compares the targets with the outputs, but outputs for "
                f"the loss {loss.name!r} are logarithms. Remove the metric, and use val_loss"
            )
    label, name, (low, high) = output_range(model)
    if (low, high) == EVERYTHING:
        return
    fact = f"layer {label!r}: with its activation {name!r}, outputs are {range_in_words(low, high)}"
    if expects := EXPECTS.get(loss.output_activation):
        remedy = "Remove the activation of the last layer"
        warn(f"{fact}, but the loss {loss.name!r} {expects}. {remedy}")
        return
    for metric in metrics:
        if expects := misjudged(metric, model.output_shape[0], low, high):
            warn(f"{fact}, but the metric {metric.name!r} {expects}")
    if isinstance(loss, REGRESSION):
        minimum, maximum = float(targets.min()), float(targets.max())
        if minimum < low or maximum > high:
            warn(
                f"{fact}, but the targets are from {minimum:.6g} to {maximum:.6g}. Remove the "
                "activation of the last layer, or scale the targets"
            )


def misjudged(metric: Metric, outputs: int, low: float, high: float) -> str:
    if isinstance(metric, (LogLoss, BrierScore)):
        return "expects logits, which can be any real numbers"
    if not isinstance(metric, (BinaryAccuracy, CountMetric)):
        return ""
    if outputs > 1 and isinstance(metric, CountMetric):
        return ""  # the metric compares outputs with each other
    threshold = metric.threshold
    # A threshold at the minimum is fine for a ReLU, whose outputs reach the minimum.
    if not (low < threshold < high or (threshold == low and math.isinf(high))):
        return (
            f"has a threshold, {threshold:g}, that puts all of these outputs into one class. "
            "Set another threshold"
        )
    return ""


def output_range(model: Sequential) -> tuple[str, str, tuple[float, float]]:
    label, name, bounds = "", "", EVERYTHING
    layer: Any
    for layer_label, layer in zip(model.labels, model.layers, strict=True):
        if type(layer) is ActivationLayer and type(layer.f) is Identity:
            continue
        if type(layer) in (Dense, ActivationLayer):
            label, name, bounds = layer_label, layer.f.name, range_of(layer.f)
        elif type(layer) is Rescaling and bounds != EVERYTHING and layer.scale:
            low, high = sorted(layer.scale * end + layer.offset for end in bounds)
            bounds = low, high
        elif type(layer) not in (Dropout, Flatten):
            bounds = EVERYTHING
    return label, name, bounds


def range_of(f: Activation) -> tuple[float, float]:
    if type(f) in BOUNDS:
        return BOUNDS[type(f)]
    if type(f) in LOWEST:
        return LOWEST[type(f)], math.inf
    if type(f) is ELU or type(f) is CELU:
        return -f.alpha, math.inf
    return EVERYTHING


def range_in_words(low: float, high: float) -> str:
    return f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"


# ------------------------------------------------------------------------- the targets' scale


def warn_of_scale(
    model: Sequential, loss: Loss, targets: np.ndarray, indices: np.ndarray | None
) -> None:
    # Call this only for untrained networks, since trained networks may have learned any scale.
    if not isinstance(loss, REGRESSION):
        return
    if any(layer.adapts_to_targets for layer in model.layers):
        return  # this layer scales the targets
    mean, std, _ = mean_and_std(targets, indices)
    scale, offset = trailing_rescaling(model)
    with np.errstate(invalid="ignore", divide="ignore"):
        center, spread = np.abs((mean - offset) / scale), std / abs(scale)
        far = (center > LARGEST_MEAN) | (spread > LARGEST_STD)
        far |= (spread > 0) & ((spread < MIN_STD) | (center > LARGEST_RATIO * spread))
    for chunk in chunks_of(targets, indices) if far.any() else ():
        far &= ~((chunk == 0) | (chunk == 1)).all(axis=0)
    if not far.any():
        return
    output = int(far.argmax())
    of_output = f" of output {output}" if len(far) > 1 else ""
    more = f" ({int(far.sum())} outputs have such targets)" if far.sum() > 1 else ""
    warn(
        f"y: the targets{of_output} have a mean of {mean[output]:.4g} and a standard deviation of "
        f"{std[output]:.4g}{more}. A network starts with outputs of about 0 ± 1, so it learns such "
        "targets slowly, badly or not at all. Standardize targets: add "
        "gpunn.layers.TargetScaling() as the last layer, or train on (y - mean) / deviation and "
        "use predictions * deviation + mean"
    )


def trailing_rescaling(model: Sequential) -> tuple[float, float]:
    scale, offset = 1.0, 0.0
    for layer in reversed(model.layers):
        if type(layer) is Rescaling and layer.scale:
            scale, offset = scale * layer.scale, offset + scale * layer.offset
        elif type(layer) not in (Dropout, Flatten):
            break
    return scale, offset
