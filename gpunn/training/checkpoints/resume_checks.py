"""Check that a checkpoint fits the trainer and the resuming call of `fit`."""

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

LOG = logging.getLogger("gpunn")

STATE_TYPES = {
    "updates": "int64",
    "passes": "int64",
    "good_updates": "int64",
    "statistics.totals": "float64",
}
"""Maps names of state arrays to their dtypes, if these differ from the network's dtype."""


def check_same_network(model: Sequential, description: Description, path: str | Path) -> None:
    config = json.loads(json.dumps(model.config()))
    for key in ("layers", "input_shape", "dtype", "seed"):
        for setting, actual, expected in network_differences(
            getattr(description, key), config[key], key
        ):
            default = LEFT_OUT.get(setting.rpartition(".")[2])
            actual, expected = (default if x is None else x for x in (actual, expected))
            raise ModelFileError(
                f"{path}: does not fit the trainer: {setting}: the file's network has {actual!r}, "
                f"the trainer's network has {expected!r}"
            )
    with ModelFileError.instead_of(ArgumentError, prefix=f"{path}: has a damaged description: "):
        schema = schema_of(description)
    if schema != model.schema:
        problem, new = (
            ("no schema, but the trainer's network has one", "None")
            if schema is None
            else ("a different schema", "gpunn.load_model(path).schema")
        )
        raise ModelFileError(
            f"{path}: does not fit the trainer: the file's network has {problem}. "
            f"Set model.schema = {new}"
        )


def check_state(
    trainer: TrainerProtocol,
    state: Mapping[str, np.ndarray],
    cursor: EpochCursor | None,
    path: str | Path,
) -> None:
    if not state and cursor is None:
        return
    size = trainer.model.parameters.values.shape
    expected = {f"optimizer.{slot}": size for slot in trainer.optimizer.slots}
    expected |= {"updates": (1,), "passes": (1,)}
    if cursor is not None:
        if not cursor.is_possible():
            raise ModelFileError(
                f"{path}: the position within the epoch is damaged; use an earlier checkpoint"
            )
        if cursor.plan.metric_names != trainer.metric_names:
            raise ModelFileError(
                f"{path}: was written in the middle of an epoch that computes the metrics "
                f"{cursor.plan.metric_names}; this trainer computes {trainer.metric_names}. Use "
                "the same metrics"
            )
        metrics, outputs = trainer.metrics, trainer.model.output_shape[0]
        separate_weights = has_metric_weight(state, metrics, outputs)
        sums = state_shapes(metrics, outputs, separate_weights)
        expected |= sums
        vector = state.get("statistics.vector")
        (length,) = sums["statistics.vector"]
        if vector is not None and vector.ndim == 1 and len(vector) and len(vector) % length == 0:
            expected["statistics.vector"] = vector.shape  # of several shards
    # The backend decides whether the loss is scaled, so a file may lack this state.
    optional = {"loss_scale": (1,), "good_updates": (1,)}
    expected |= {name: shape for name, shape in optional.items() if name in state}
    actual = {name: array.shape for name, array in state.items()}
    if actual != expected:
        raise ModelFileError(
            f"{path}: the optimizer's state has the shapes {actual}; expected {expected}"
        )
    for name, array in state.items():
        dtype = STATE_TYPES.get(name, trainer.model.dtype)
        if array.dtype != dtype:
            raise ModelFileError(
                f"{path}: the optimizer's state {name!r} has dtype {array.dtype}; expected {dtype}"
            )


def check_same_epoch(checkpoint: Checkpoint, plan: EpochPlan, recipe: StepRecipe) -> None:
    cursor = checkpoint.progress.cursor
    if cursor is None:
        return
    if cursor.plan != plan:
        raise ArgumentError(
            f"resume_from: {checkpoint.path} was written in the middle of an epoch of "
            f"{cursor.plan}; this call has {plan}. "
            "Call fit with the data and settings of the interrupted call"
        )
    weighted = recipe.has_metric_weight(checkpoint.state)
    if weighted and not recipe.separate_metric_weights:
        raise ArgumentError(
            f"resume_from: {checkpoint.path} was written in the middle of an epoch with a "
            "class_weight; this call has none. Call fit with the data and settings of the "
            "interrupted call"
        )
    if recipe.separate_metric_weights and not weighted:
        LOG.warning(
            "Until update %d, metrics of the interrupted epoch include class_weight, as in an "
            "earlier version of gpunn. From this update on, class_weight only affects the loss. "
            "Nothing else changes",
            checkpoint.progress.updates,
        )


def check_same_names(checkpoint: Checkpoint, names: Names) -> None:
    # Columns in another order are not reordered, because the checkpoint is not loaded yet.
    about = checkpoint.description
    outputs = (len(names.targets or ()),)
    earlier = Names(
        feature_names_in(about.metadata, tuple(about.input_shape)),
        target_names_in(about.metadata, outputs),
    )
    for argument, actual, expected in names.differences(earlier):
        problem = difference(actual, expected) or f"they were in the order {shown(expected)}"
        raise ArgumentError(
            f"resume_from: {checkpoint.path} was trained with other columns of {argument}: "
            f"{problem}. Call fit with the data and settings of the interrupted call"
        )
