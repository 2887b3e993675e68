"""A trainer as a checkpoint, and back.

A checkpoint is a description of JSON types and host arrays by name. `gpunn.storage` writes and
reads these; what they mean is known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from gpunn.configurable import check_integer
from gpunn.differences import network_differences
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.layers.base import LEFT_OUT
from gpunn.network import Sequential, check_values, schema_of
from gpunn.schema import typed
from gpunn.storage.checkpoint_folder import CheckpointContent, newest_undamaged
from gpunn.storage.models import STATE, Description, check_arrays, description_text, read_model
from gpunn.training.epoch_cursor import EpochCursor
from gpunn.training.protocol import TrainerProtocol
from gpunn.training.statistics import has_metric_weight, state_shapes

__all__ = [
    "Checkpoint",
    "TrainingRecord",
    "newest_checkpoint",
    "read_checkpoint",
    "restore_checkpoint",
    "take_checkpoint",
]

CALLBACKS = "callbacks."
"""Prefix, after that of the training state, of arrays that belong to callbacks."""

STATE_TYPES = {
    "updates": "int64",
    "passes": "int64",
    "good_updates": "int64",
    "statistics.totals": "float64",
}
"""Types of the state's arrays that are not of the network's."""

LARGEST = 2**63 - 1
"""Largest whole number in a checkpoint; a float can't hold any of JSON's."""


def check_count(path: str, value: Any) -> int:
    """Return a whole number from 0 to `LARGEST`, or raise an ArgumentError."""
    if check_integer(path, value, at_least=0) > LARGEST:
        raise ArgumentError(f"{path}: expected a whole number <= {LARGEST}; got a larger one")
    return int(value)


Count = Annotated[int, check_count]


RECORDED_AS = {"cursor": "position", "plan": "course", "metric_names": "figures"}
"""Names in files of what has another name here."""


@dataclass
class CallbackRecord:
    """What a checkpoint says of a callback."""

    name: str
    state: dict[str, Any]


@dataclass
class TrainingRecord:
    """How far training has come, as a checkpoint describes it."""

    epoch: Count
    updates: Count
    first_epoch: Count
    stopped: str
    cursor: EpochCursor | None
    optimizer: str
    schedule_state: dict[str, float]
    history: list[dict[str, int | float]]
    callbacks: list[CallbackRecord]
    recoveries: Count = 0
    algorithms: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's file holds, found to be undamaged.

    `values` are the network's parameters; `state` is the optimizer's state, the device's counters,
    and the arrays of callbacks.
    """

    path: Path
    description: Description
    progress: TrainingRecord
    values: dict[str, np.ndarray]
    state: dict[str, np.ndarray]

    def callback_states(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the name and the state of each callback."""
        states = [(record.name, dict(record.state)) for record in self.progress.callbacks]
        for name, array in self.state.items():
            if name.startswith(CALLBACKS):
                index, _, key = name.removeprefix(CALLBACKS).partition(".")
                if not index.isdecimal() or int(index) >= len(states):
                    raise ModelFileError(f"{self.path}: there is no callback for {name!r}")
                states[int(index)][1][key] = array
        return states


# ------------------------------------------------------------------------- trainer to checkpoint


def take_checkpoint(trainer: TrainerProtocol) -> CheckpointContent:
    """Copy to the host all that training needs to go on exactly from here.

    "Here" is between two updates, in the middle of an epoch or at its end: whenever a callback is
    called, or after `Trainer.fit`. Raise an ArgumentError as `Sequential.save`, or if the
    optimizer's state is not finite.
    """
    model = trainer.model
    state = dict(trainer.state())
    check_finite(state)
    callbacks = []
    for index, callback in enumerate(trainer.callbacks):
        kept = callback.state(trainer)
        arrays = {name: item for name, item in kept.items() if isinstance(item, np.ndarray)}
        plain = {name: item for name, item in kept.items() if name not in arrays}
        callbacks.append({"name": callback.name, "state": plain})
        state |= {f"{CALLBACKS}{index}.{name}": array for name, array in arrays.items()}
    progress = trainer.progress
    description = {
        **model.file_description(),
        "training": {
            "epoch": progress.epoch,
            "updates": progress.updates,
            "recoveries": progress.recoveries,
            "first_epoch": progress.first_epoch,
            "stopped": "" if progress.interrupted else progress.stop_reason,
            "position": progress.cursor and renamed(asdict(progress.cursor), RECORDED_AS),
            "optimizer": trainer.optimizer.name,
            "schedule_state": trainer.optimizer.schedule.state(),
            "history": trainer.history.rows,
            "callbacks": callbacks,
            "algorithms": model.backend.algorithms(),
        },
    }
    named = {f"{STATE}{name}": array for name, array in state.items()}
    arrays = {**model.file_arrays(), **named}
    text = description_text(description)
    return CheckpointContent(arrays, text, progress.epoch, progress.updates)


def renamed(data: Any, names: Mapping[str, str]) -> Any:
    """Return a table of JSON, and those within it, with other names."""
    if not isinstance(data, dict):
        return data
    return {names.get(key, key): renamed(value, names) for key, value in data.items()}


# ------------------------------------------------------------------------- checkpoint to trainer


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint, to be restored later.

    Raise a ModelFileError if the file is damaged, holds no training state, or one that is not
    finite.
    """
    description, values, state = read_model(path)
    if description.training is None:
        raise ModelFileError(
            f"{path}: holds a model without training state; it can be loaded with load_model"
        )
    try:
        check_arrays(values, description.dtype)
        check_finite(state)
    except ArgumentError as error:
        raise ModelFileError(f"{path}: {error}") from error
    training = dict(description.training)
    if "position" in training:
        names = {recorded: name for name, recorded in RECORDED_AS.items()}
        training["cursor"] = renamed(training["position"], names)
    try:
        record = typed(TrainingRecord, training, "training", ignore_unknown=True)
    except ArgumentError as error:
        key = ".".join(RECORDED_AS.get(name, name) for name in error.key.split("."))
        problem = f"has a damaged description: {key}: {error.problem}"
        raise ModelFileError(f"{path}: {problem}") from error
    for number, row in enumerate(record.history, start=1):
        if not isinstance(row.get("epoch"), int) or row["epoch"] < 1:
            raise ModelFileError(
                f"{path}: row {number} of the history is damaged: expected a number of an epoch; "
                f"got {row.get('epoch')!r}"
            )
        for name, value in row.items():
            if isinstance(value, int) and abs(value) > LARGEST:
                raise ModelFileError(
                    f"{path}: row {number} of the history is damaged: {name!r} is too large"
                )
    return Checkpoint(Path(path), description, record, values, state)


def newest_checkpoint(path: str | Path) -> Checkpoint:
    """Read the newest undamaged checkpoint; see `newest_undamaged`."""
    return newest_undamaged(path, read_checkpoint)


def restore_checkpoint(trainer: TrainerProtocol, checkpoint: Checkpoint) -> None:
    """Put a trainer where a checkpoint was written; its network must be made alike.

    What is not in the file is the trainer's own: loss, metrics, the optimizer's parameters and the
    data. The states of callbacks are for `gpunn.training.resume`. Raise a ModelFileError, with
    nothing changed, if it does not fit the trainer's optimizer or its network's layers, input
    shape, seed and dtype.
    """
    path, description, training = checkpoint.path, checkpoint.description, checkpoint.progress
    values = checkpoint.values
    check_same_network(trainer.model, description, path)
    try:
        check_values(trainer.model.parameters.specs, values)
    except ArgumentError as error:
        raise ModelFileError(f"{path}: does not fit the trainer: {error}") from error
    ours, theirs = trainer.optimizer.name, training.optimizer
    if ours != theirs:
        raise ModelFileError(f"{path}: was trained with the optimizer {theirs!r}, not {ours!r}")
    state = {
        name: array for name, array in checkpoint.state.items() if not name.startswith(CALLBACKS)
    }
    check_state(trainer, state, training.cursor, path)
    schedule = trainer.optimizer.schedule
    if training.schedule_state.keys() != schedule.state().keys():
        raise ModelFileError(
            f"{path}: the schedule's state is {sorted(training.schedule_state)}; expected "
            f"{sorted(schedule.state())}"
        )
    checkpoint.callback_states()
    before = schedule.state()
    try:
        schedule.restore(training.schedule_state)
    except (ArithmeticError, TypeError, ValueError) as error:
        schedule.restore(before)
        raise ModelFileError(f"{path}: the schedule's state is damaged: {error}") from error
    trainer.model.backend.restore_algorithms(training.algorithms)
    for name, value in values.items():
        trainer.model.parameters[name] = value
    trainer.model.metadata = description.metadata
    trainer.model.adapted = trainer.model.started = description.inputs_fitted
    trainer.history.replace(training.history)
    trainer.device_state.replace(state, trainer.model.parameters.trained)
    progress = trainer.progress
    progress.epoch, progress.updates = training.epoch, training.updates
    progress.first_epoch, progress.cursor = training.first_epoch, copy(training.cursor)
    progress.recoveries, progress.stop_reason = training.recoveries, training.stopped


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
        own_weights = has_metric_weight(state, metrics, outputs)
        sums = state_shapes(metrics, outputs, own_weights)
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


def check_finite(state: Mapping[str, np.ndarray]) -> None:
    """Raise an ArgumentError unless an optimizer's state is finite.

    Sums over an epoch may be anything: a metric can overflow where the loss does not. What a
    callback keeps is its own matter.
    """
    for name, array in sorted(state.items()):
        if name.startswith((CALLBACKS, "statistics.")):
            continue
        if not np.isfinite(array).all():
            raise ArgumentError(
                f"training state: {name!r} holds numbers that are not finite, so training can't "
                "resume from it; use an earlier checkpoint"
            )


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
