"""Find the first layer with numbers that are not finite, in the batch that diverged."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpunn.distributed import shares
from gpunn.network import Sequential
from gpunn.training.batches.batch_feed import Feed
from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.divergence.detection import not_finite, state_fault
from gpunn.training.step.loss_computation import compute_loss, outputs_until_loss
from gpunn.training.step.train_step import TrainStep
from gpunn.typing import Array
from gpunn.workspace import Workspace


def diagnosis(step: TrainStep, feed: Feed, cursor: EpochCursor, title: str, fault: str) -> str:
    """Return a sentence about the first numbers that are not finite in the next update.

    The parameters must have the values from before the update. The call overwrites the gradients,
    but restores parameters and running averages.
    """
    model = step.model
    if before := state_fault(step):
        return f"{before} before {title}."
    saved = model.parameters.snapshot()
    try:
        with model.backend.computing(), np.errstate(all="ignore"):
            return first_non_finite(step, feed, cursor, title, fault)
    finally:
        model.parameters.restore(saved)


def first_non_finite(
    step: TrainStep, feed: Feed, cursor: EpochCursor, title: str, fault: str
) -> str:
    model, ops = step.model, step.ops
    workspace = Workspace(ops, model.dtype, step.batch_size, training=True)
    workspace.independent_members = step.workspace.independent_members
    workspace.passes[...] = step.workspace.passes
    step.scheduled.look_up()
    workspace.settings, loss = step.scheduled.now, step.scheduled.present(step.loss)
    largest = (0.0, "")
    for x, targets, weights, normalizer in batches(step, feed, cursor):
        for name, rows in (("X", x), ("y", targets)):
            if bad := not_finite(ops.to_host(rows)):  # the data itself was checked before
                return (
                    f"augment: {name} returned at {title} has numbers that are not finite ({bad})."
                )
        workspace.passes += 1
        outputs = model.forward(x, workspace)
        size = float(np.abs(ops.to_host(x)).max(initial=0))
        outputs = outputs_until_loss(model, outputs)
        for label, y in zip(model.labels, outputs[1:], strict=False):
            values = ops.to_host(y)
            if bad := not_finite(values):
                return (
                    f"loss: not a finite number at {title}. The activations of layer {label!r} are "
                    f"the first that are not finite ({bad}); the layer's inputs are up to "
                    f"{size:.3g}."
                )
            size = float(np.abs(values).max(initial=0))
        for name, values in buffers(model):
            if bad := not_finite(values):
                label = name.partition(".")[0]
                inputs = ops.to_host(outputs[model.labels.index(label)])
                return (
                    f"buffers: {name!r} is not finite after {title} ({bad}), although the "
                    f"activations are finite. The inputs of layer {label!r} are up to "
                    f"{np.abs(inputs).max():.3g}; {largest_input(model, ops.to_host(x))}. "
                    "Replace, clip or rescale such numbers."
                )
        gradient = ops.zeros(outputs[-1].shape, model.dtype)
        loss_sum = ops.zeros((1,), model.dtype)
        y = outputs[-1]
        compute_loss(model, workspace, loss, y, targets, weights, normalizer, gradient, loss_sum)
        if not np.isfinite(ops.to_host(loss_sum)).all():
            return (
                f"loss: not a finite number at {title}, although all activations are finite; the "
                f"network's outputs are up to {size:.3g}."
            )
        for label, name, values in gradients(step, outputs, gradient, workspace):
            if bad := not_finite(values):
                where = f" in layer {label!r}" if label else ""
                return (
                    f"gradients: not finite at {title}, although the loss is finite. In the "
                    f"backward pass, the first such gradients are {name}{where} ({bad})."
                )
            if label:
                largest = max(largest, (float(np.abs(values).max(initial=0)), label))
    if not np.isfinite(penalty(step, normalizer)):
        return (
            f"loss: not a finite number at {title}, although the loss without the penalty is "
            "finite. The penalty of the parameters is too large, with "
            f"l2_penalty={step.optimizer.l2_penalty:.3g}."
        )
    size, label = largest
    if fault and not fault.startswith("parameters"):
        return (
            f"{fault} after {title}, although activations and gradients are finite; the "
            f"largest gradient is {size:.3g}, in layer {label!r}."
        )
    rate = feed.settings[cursor.done, 0]
    return (
        f"parameters: not finite after {title}. Activations and gradients are finite, so the "
        f"update itself was too large: the learning rate is {rate:.3g} and the largest gradient "
        f"{size:.3g}, in layer {label!r}."
    )


def buffers(model: Sequential) -> Iterator[tuple[str, np.ndarray]]:
    for name, spec in model.parameters.specs.items():
        if not spec.learned:
            yield name, model.backend.to_host(model.parameters[name])


def largest_input(model: Sequential, x: np.ndarray) -> str:
    largest = np.abs(x).max(axis=0)
    index, names = np.unravel_index(int(largest.argmax()), largest.shape), model.feature_names
    where = f"at position {tuple(map(int, index))} of a row"
    if len(index) == 1:
        where = f"in column {int(index[0]) if names is None else repr(names[int(index[0])])}"
    return f"the largest absolute value in X is {largest[index]:.3g}, {where}"


def batches(
    step: TrainStep, feed: Feed, cursor: EpochCursor
) -> Iterator[tuple[Array, Array, Array, Array]]:
    ops, members = step.ops, step.members
    host_X, host_y, host_weights, input_dtype, target_dtype, dtype, sizes = feed.host_rows(cursor)
    weights = (np.ones(len(host_X)) if host_weights is None else host_weights) / members
    total = ops.from_host(np.array([weights.sum()]), dtype)
    if feed.augmentation is not None:
        input_dtype = step.model.dtype
    X, y = ops.from_host(host_X, input_dtype), ops.from_host(host_y, target_dtype)
    if feed.augmentation is not None:
        X, y = feed.augmentation.changed(X, y, cursor.done)
    first = 0
    for rows in sizes or shares.batches(len(host_X), step.batch_size * members):
        batch = slice(first, first + rows)
        first += rows
        yield X[batch, ...], y[batch, ...], ops.from_host(weights[batch], dtype), total


def gradients(
    step: TrainStep, outputs: list[Array], gradient: Array, workspace: Workspace
) -> Iterator[tuple[str, str, np.ndarray]]:
    model, ops = step.model, step.ops
    yield "", "the gradients at the network's outputs", ops.to_host(gradient)
    first = next((i for i, layer in enumerate(model.layers) if layer.gradients), len(model.layers))
    for index in range(len(outputs) - 2, first - 1, -1):
        layer: Any = model.layers[index]
        x, y = outputs[index], outputs[index + 1]
        gradient = layer.backward(x, y, gradient, workspace, index > first)
        for name, values in layer.gradients.items():
            yield model.labels[index], f"the gradients of {name!r}", ops.to_host(values)
        if index > first:
            yield model.labels[index], "the gradients of the inputs", ops.to_host(gradient)


def penalty(step: TrainStep, normalizer: Array) -> float:
    """Return the L2 penalty l2_penalty / 2 * ||values||^2, not divided by the sum of weights."""
    parameters, optimizer, ops = step.model.parameters, step.optimizer, step.ops
    if not optimizer.l2_penalty:
        return 0.0
    values = parameters.values[: parameters.decayed_by(optimizer.decay_all)]
    loss_sum = ops.zeros((1,), step.model.dtype)
    ops.l2_penalty(values, ops.copy(values), normalizer, optimizer.l2_penalty, loss_sum)
    return float(ops.to_host(loss_sum)[0])
