"""Check that a checkpoint fits the trainer and the call of `fit` that resume from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gpunn.data.frames import difference
from gpunn.differences import network_differences
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.layers.base import LEFT_OUT
from gpunn.meaning import feature_names_in, shown, target_names_in
from gpunn.network import Sequential, schema_of
from gpunn.storage.models import Description
from gpunn.training.batches.dataset import Names
from gpunn.training.batches.epoch_cursor import EpochCursor, EpochPlan
from gpunn.training.checkpoints.checkpoint import Checkpoint
from gpunn.training.step.statistics import has_metric_weight, state_shapes
from gpunn.training.step.train_step import StepRecipe
from gpunn.training.trainer_protocol import TrainerProtocol

__all__ = ["check_same_epoch", "check_same_names", "check_same_network", "check_state"]

LOG = logging.getLogger("gpunn")

STATE_TYPES = {
    "updates": "int64",
    "passes": "int64",
    "good_updates": "int64",
    "statistics.totals": "float64",
}
"""Types of the state's arrays that are not of the network's."""


def check_same_network(model: Sequential, description: Description, path: str | Path) -> None:
    """Raise a ModelFileError that names the first thing in which a file's network differs."""
    expected = json.loads(json.dumps(model.config()))
    for key in ("layers", "input_shape", "dtype", "seed"):
        for place, theirs, ours in network_differences(
            getattr(description, key), expected[key], key
        ):
            default = LEFT_OUT.get(place.rpartition(".")[2])
            theirs, ours = (default if each is None else each for each in (theirs, ours))
            raise ModelFileError(
                f"{path}: does not fit the trainer: {place}: the file's network has {theirs!r}, "
                f"the trainer's {ours!r}"
            )
    try:
        schema = schema_of(description)
    except ArgumentError as error:
        raise ModelFileError(f"{path}: has a damaged description: {error}") from error
    if schema != model.schema:
        raise ModelFileError(
            f"{path}: does not fit the trainer: its network has "
            f"{'no schema' if schema is None else 'another schema'}. Give the trainer's the same: "
            "model.schema = gpunn.load_model(path).schema"
        )


def check_state(
    trainer: TrainerProtocol,
    state: Mapping[str, np.ndarray],
    cursor: EpochCursor | None,
    path: str | Path,
) -> None:
    """Raise a ModelFileError unless the optimizer's state fits; a run not yet begun has none."""
    if not state and cursor is None:
        return
    size = trainer.model.parameters.values.shape
    expected = {f"optimizer.{slot}": size for slot in trainer.optimizer.slots}
    expected |= {"updates": (1,), "passes": (1,)}
    if cursor is not None:
        if not cursor.is_possible():
            raise ModelFileError(f"{path}: there is no such place in an epoch: {cursor}")
        if cursor.plan.metric_names != trainer.metric_names:
            raise ModelFileError(
                f"{path}: was written in the middle of an epoch with the metrics "
                f"{cursor.plan.metric_names}, not {trainer.metric_names}"
            )
        metrics, outputs = trainer.metrics, trainer.model.output_shape[0]
        separate_weights = has_metric_weight(state, metrics, outputs)
        sums = state_shapes(metrics, outputs, separate_weights)
        expected |= sums
        vector = state.get("statistics.vector")
        (length,) = sums["statistics.vector"]
        if vector is not None and vector.ndim == 1 and len(vector) and len(vector) % length == 0:
            expected["statistics.vector"] = vector.shape  # of several shards
    # Whether the loss is scaled is a matter of the backend, not of the file.
    optional = {"loss_scale": (1,), "good_updates": (1,)}
    expected |= {name: shape for name, shape in optional.items() if name in state}
    found = {name: array.shape for name, array in state.items()}
    if found != expected:
        raise ModelFileError(
            f"{path}: the optimizer's state has the shapes {found}; expected {expected}"
        )
    for name, array in state.items():
        ours = STATE_TYPES.get(name, trainer.model.dtype)
        if array.dtype != ours:
            raise ModelFileError(
                f"{path}: the optimizer's state {name!r} has dtype {array.dtype}; expected {ours}"
            )


def check_same_epoch(checkpoint: Checkpoint, plan: EpochPlan, recipe: StepRecipe) -> None:
    """Raise an ArgumentError unless an epoch that was cut short can go on with these.

    If metrics change their weights within it, a warning says so.
    """
    cursor = checkpoint.progress.cursor
    if cursor is None:
        return
    if cursor.plan != plan:
        raise ArgumentError(
            f"resume_from: {checkpoint.path} was written in the middle of an epoch of "
            f"{cursor.plan}; this call has {plan}. Make the call that was interrupted"
        )
    weighted = recipe.has_metric_weight(checkpoint.state)
    if weighted and not recipe.separate_metric_weights:
        raise ArgumentError(
            f"resume_from: {checkpoint.path} was written in the middle of an epoch with a "
            "class_weight; this call has none. Make the call that was interrupted"
        )
    if recipe.separate_metric_weights and not weighted:
        LOG.warning(
            "The metrics of the epoch that was cut short have the weights of the loss until update "
            "%d, as all had in an earlier gpunn; from there on class_weight is for the loss alone. "
            "Nothing else changes by that",
            checkpoint.progress.updates,
        )


def check_same_names(checkpoint: Checkpoint, names: Names) -> None:
    """Raise an ArgumentError unless data has its columns as a checkpoint's had them.

    Its network is not loaded yet when data is checked, so they are not put into order.
    """
    about = checkpoint.description
    outputs = (len(names.targets or ()),)
    earlier = Names(
        feature_names_in(about.metadata, tuple(about.input_shape)),
        target_names_in(about.metadata, outputs),
    )
    for argument, ours, theirs in names.differences(earlier):
        problem = difference(ours, theirs) or f"they were in the order {shown(theirs)}"
        raise ArgumentError(
            f"resume_from: {checkpoint.path} is of a training on other columns of {argument}: "
            f"{problem}. Make the call that was interrupted"
        )
