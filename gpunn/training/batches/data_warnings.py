"""What a network and its data can hardly be meant to be, found before training begins."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from gpunn.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    ExactGELU,
    Identity,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from gpunn.data.preprocessing import chunks_of, mean_and_std
from gpunn.errors import ArgumentError, GpunnWarning
from gpunn.layers import Activation as ActivationLayer
from gpunn.layers import Dense, Dropout, Flatten, Rescaling
from gpunn.layers.base import synchronizing
from gpunn.losses import Huber, Loss, MeanAbsoluteError, MeanSquaredError, Quantile
from gpunn.meaning import check_class_count
from gpunn.metrics import BinaryAccuracy, BrierScore, LogLoss, Metric
from gpunn.metrics.confusion import CountMetric
from gpunn.network import Sequential
from gpunn.training.batches.epoch_cursor import EpochPlan

__all__ = ["check_batch_statistics", "check_classes", "warn_of_outputs", "warn_of_single_row"]
__all__ += ["warn_of_scale"]

PACKAGE = str(Path(__file__).parents[1])

MIN_STD, LARGEST_STD = 0.1, 100.0
"""Standard deviations of targets between which a network learns them without more ado."""

LARGEST_MEAN, LARGEST_RATIO = 100.0, 9.0
"""Largest distance of their mean from 0, and largest quotient of that by the deviation."""

LOWEST = {
    GELU: -0.171,
    ExactGELU: -0.17,
    SELU: -SELU.scale * SELU.alpha,
    SiLU: -0.279,
    Mish: -0.309,
}
"""The least values of activations that are bounded below."""

REGRESSION = (MeanSquaredError, MeanAbsoluteError, Huber, Quantile)
"""Losses that compare the outputs themselves with numbers."""

EVERYTHING = (-math.inf, math.inf)

TAKES = {
    "softmax": "takes logits, which are any real numbers, and applies the softmax itself",
    "sigmoid": "takes logits, which are any real numbers, and applies the sigmoid itself",
    "exponential": "takes logarithms of rates, which are any real numbers",
}


def warn(text: str) -> None:
    """Warn the code that called gpunn, however many frames lie between."""
    frame: FrameType | None = sys._getframe()
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, GpunnWarning, level)


def check_classes(model: Sequential, loss: Loss) -> None:
    """Raise a DataError if the network has names of fewer or more classes than it tells apart."""
    outputs, activation = model.output_shape[0], loss.output_activation
    one_of_them = activation == "softmax" or (activation == "sigmoid" and outputs == 1)
    if one_of_them and (classes := model.classes) is not None:
        check_class_count(classes, outputs, "classes")


# -------------------------------------------------------------------------- rows of a batch


def check_batch_statistics(model: Sequential, plan: EpochPlan, shards: int = 1) -> None:
    """Raise an ArgumentError if a layer normalizes over a batch, or each of its shards, of one row.

    Over one row, its output is the same for all rows, and no gradient gets through. Warn if this
    is so for the last batch of an epoch.
    """
    label = normalizing(model)
    if label is None or plan.members > 1:
        return
    rows, batch_size = plan.visited, plan.batch_size
    if batch_size < 2 * shards:
        few = "each batch" if shards == 1 else f"a shard of each batch ({shards} shards)"
        raise ArgumentError(
            f"batch_size: layer {label!r} normalizes over the rows of a batch, but {few} has one "
            "row, so its output would be the same for all rows, and the layers before it would not "
            "learn. "
            f"Give batch_size={2 * shards} or more{' and more rows' if rows == 1 else ''}, or "
            "replace the layer by 'layer_norm'"
        )
    if 0 < rows % batch_size < 2 * shards:
        part = "" if shards == 1 else f"a shard ({shards} shards) of "
        warn_of_single_row(
            model,
            f"{rows} rows in batches of {batch_size} leave one row for {part}the last batch of an "
            "epoch",
            "Choose another batch_size, or set drop_last=True",
        )


def warn_of_single_row(model: Sequential, found: str, remedy: str) -> None:
    """Warn of a batch of one row, if there is a layer that normalizes over the rows of a batch."""
    if (label := normalizing(model)) is not None:
        warn(
            f"layer {label!r}: normalizes over the rows of a batch, but {found}. From it the "
            "layers before this one do not learn, and the running variance shrinks. " + remedy
        )


def normalizing(model: Sequential) -> str | None:
    """Return the first layer that normalizes over the rows of a batch, or contains one."""
    labels = zip(model.labels, model.layers, strict=True)
    return next((label for label, layer in labels if synchronizing([layer])), None)


# ------------------------------------------------------------------------------ the last layer


def warn_of_outputs(
    model: Sequential, loss: Loss, metrics: Sequence[Metric], targets: np.ndarray
) -> None:
    """Warn if the network's outputs can't be what loss or metrics take, or what the targets are."""
    label, name, (low, high) = output_range(model)
    if (low, high) == EVERYTHING:
        return
    said = f"layer {label!r}: with its activation {name!r} outputs are {span(low, high)}"
    if takes := TAKES.get(loss.output_activation):
        remedy = "Leave out the activation of the last layer"
        warn(f"{said}, but the loss {loss.name!r} {takes}. {remedy}")
        return
    for metric in metrics:
        if takes := misjudged(metric, model.output_shape[0], low, high):
            warn(f"{said}, but the metric {metric.name!r} {takes}")
    if isinstance(loss, REGRESSION):
        least, most = float(targets.min()), float(targets.max())
        if least < low or most > high:
            warn(
                f"{said}, but the targets are from {least:.6g} to {most:.6g}. Leave out the "
                "activation of the last layer, or scale the targets"
            )


def misjudged(metric: Metric, outputs: int, low: float, high: float) -> str:
    """Return why outputs between these bounds are not what a metric takes; empty if they are."""
    if isinstance(metric, (LogLoss, BrierScore)):
        return "takes logits, which are any real numbers"
    if not isinstance(metric, (BinaryAccuracy, CountMetric)):
        return ""
    if outputs > 1 and isinstance(metric, CountMetric):
        return ""  # it judges differences of outputs
    threshold = metric.threshold
    # A ReLU does reach its least value.
    if not (low < threshold < high or (threshold == low and math.isinf(high))):
        return (
            f"takes all of them for the same class at its threshold of {threshold:g}, "
            "which is one for logits. Give it another"
        )
    return ""


def output_range(model: Sequential) -> tuple[str, str, tuple[float, float]]:
    """Return which layer bounds the outputs, by which activation, and the bounds."""
    label, name, bounds = "", "", EVERYTHING
    layer: Any
    for place, layer in zip(model.labels, model.layers, strict=True):
        if type(layer) is ActivationLayer and type(layer.f) is Identity:
            continue
        if type(layer) in (Dense, ActivationLayer):
            label, name, bounds = place, layer.f.name, range_of(layer.f)
        elif type(layer) is Rescaling and bounds != EVERYTHING and layer.scale:
            low, high = sorted(layer.scale * end + layer.offset for end in bounds)
            bounds = low, high
        elif type(layer) not in (Dropout, Flatten):
            bounds = EVERYTHING
    return label, name, bounds


def range_of(f: Activation) -> tuple[float, float]:
    """Return bounds of an activation's values; none for one that is not known here."""
    if type(f) is Sigmoid:
        return 0.0, 1.0
    if type(f) is Tanh:
        return -1.0, 1.0
    if type(f) in (ReLU, Softplus):
        return 0.0, math.inf
    if type(f) in LOWEST:
        return LOWEST[type(f)], math.inf
    if type(f) is ELU:
        return -f.alpha, math.inf
    return EVERYTHING


def span(low: float, high: float) -> str:
    """Return a range in words."""
    return f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"


# ------------------------------------------------------------------------- the targets' scale


def warn_of_scale(
    model: Sequential, loss: Loss, targets: np.ndarray, indices: np.ndarray | None
) -> None:
    """Warn if training rows' targets are far from the scale of an untrained network's outputs.

    It is for networks that have not been trained: others have come to whatever they are.
    """
    if not isinstance(loss, REGRESSION):
        return
    if any(layer.adapts_to_targets for layer in model.layers):
        return  # which brings them to the scale of the outputs
    mean, std, _ = mean_and_std(targets, indices)
    scale, offset = trailing_rescaling(model)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre, spread = np.abs((mean - offset) / scale), std / abs(scale)
        far = (centre > LARGEST_MEAN) | (spread > LARGEST_STD)
        far |= (spread > 0) & ((spread < MIN_STD) | (centre > LARGEST_RATIO * spread))
    for chunk in chunks_of(targets, indices) if far.any() else ():
        far &= ~((chunk == 0) | (chunk == 1)).all(axis=0)
    if not far.any():
        return
    output = int(far.argmax())
    of_output = f" of output {output}" if len(far) > 1 else ""
    more = f" ({int(far.sum())} outputs are such)" if far.sum() > 1 else ""
    warn(
        f"y: the targets{of_output} have a mean of {mean[output]:.4g} and a standard deviation of "
        f"{std[output]:.4g}{more}. A network starts with outputs of about 0, give or take 1; "
        "so far from there it learns slowly, badly or not at all. Standardize the targets: let "
        "gpunn.layers.TargetScaling() be the last layer, or train on (y - mean) / deviation, and "
        "take predictions * deviation + mean"
    )


def trailing_rescaling(model: Sequential) -> tuple[float, float]:
    """Return scale and offset of what comes after the last layer that computes something else."""
    scale, offset = 1.0, 0.0
    for layer in reversed(model.layers):
        if type(layer) is Rescaling and layer.scale:
            scale, offset = scale * layer.scale, offset + scale * layer.offset
        elif type(layer) not in (Dropout, Flatten):
            break
    return scale, offset
