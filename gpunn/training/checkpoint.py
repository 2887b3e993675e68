"""A trainer as a checkpoint, and back.

A checkpoint is a description of JSON types and host arrays by name. `gpunn.saving` writes and reads
these; what they mean is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from gpunn.errors import ArgumentError, ModelFileError
from gpunn.network import check_values
from gpunn.saving import (
    STATE,
    Content,
    Description,
    check_same_network,
    check_stored,
    describe,
    json_text,
    read_file,
    restore_annotations,
    without_state,
)
from gpunn.training.epoch_cursor import EpochCursor

if TYPE_CHECKING:
    from gpunn.training.trainer import Trainer

__all__ = [
    "Checkpoint",
    "CheckpointContent",
    "TrainingRecord",
    "checkpoint_contents",
    "load_checkpoint",
    "parse_checkpoint",
    "read_checkpoint",
    "restore_checkpoint",
    "save_checkpoint",
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

Count = Annotated[int, msgspec.Meta(ge=0)]


class CallbackRecord(msgspec.Struct):
    """What a checkpoint says of a callback."""

    name: str
    state: dict[str, Any]


class TrainingRecord(msgspec.Struct):
    """How far training has come, as a checkpoint describes it."""

    epoch: Count
    updates: Count
    first_epoch: Count
    stopped: str
    position: EpochCursor | None
    optimizer: str
    schedule_state: dict[str, float]
    history: list[dict[str, int | float]]
    callbacks: list[CallbackRecord]
    recoveries: Count = 0
    algorithms: dict[str, str] = {}


class Described(msgspec.Struct):
    """The part of a description that is about training, at its place there."""

    training: TrainingRecord


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's file holds, found to be undamaged.

    Attributes
    ----------
    path : Path
    description : Description
        Of the network.
    progress : TrainingRecord
    values : dict of str to ndarray
        The network's parameters.
    state : dict of str to ndarray
        The optimizer's state, the device's counters, and the arrays of callbacks.
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


def checkpoint_contents(trainer: Trainer) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return all that training needs to go on exactly from here: a description and host arrays."""
    model = trainer.model
    state = dict(trainer.state())
    callbacks = []
    for index, callback in enumerate(trainer.callbacks):
        kept = callback.state(trainer)
        arrays = {name: item for name, item in kept.items() if isinstance(item, np.ndarray)}
        plain = {name: item for name, item in kept.items() if name not in arrays}
        callbacks.append({"name": callback.name, "state": plain})
        state |= {f"{CALLBACKS}{index}.{name}": array for name, array in arrays.items()}
    position = trainer.position
    description = {
        **describe(model),
        "training": {
            "epoch": trainer.epoch,
            "updates": trainer.updates,
            "recoveries": trainer.recoveries,
            "first_epoch": trainer.first_epoch,
            "stopped": trainer.stop_reason,
            "position": None if position is None else asdict(position),
            "optimizer": trainer.optimizer.name,
            "schedule_state": trainer.optimizer.schedule.state(),
            "history": trainer.history.rows,
            "callbacks": callbacks,
            "algorithms": model.backend.algorithms(),
        },
    }
    named = {f"{STATE}{name}": array for name, array in state.items()}
    return description, {**model.parameters.to_host(), **named}


@dataclass(frozen=True)
class CheckpointContent(Content):
    """A checkpoint that is not written yet.

    Attributes
    ----------
    epoch, updates : int
        Epochs and updates done when it was taken.
    """

    epoch: int
    updates: int


def take_checkpoint(trainer: Trainer) -> CheckpointContent:
    """Do the first half of `save_checkpoint`: copy everything to the host.

    Raises
    ------
    ArgumentError
        As `save_model`.
    """
    description, arrays = checkpoint_contents(trainer)
    return CheckpointContent(arrays, json_text(description), trainer.epoch, trainer.updates)


def save_checkpoint(trainer: Trainer, path: str | Path) -> None:
    """Write a model together with all that training needs to go on exactly from here.

    "Here" is between two updates, in the middle of an epoch or at its end: whenever a callback is
    called, or after `Trainer.fit`.

    Raises
    ------
    ArgumentError, OSError
        As `save_model`.
    """
    take_checkpoint(trainer).write(path)


# ------------------------------------------------------------------------- checkpoint to trainer


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint, to be restored later.

    Raises
    ------
    ModelFileError
        If the file is damaged or holds no training state.
    """
    return parse_checkpoint(path, *read_file(path))


def parse_checkpoint(
    path: str | Path, description: Description, arrays: Mapping[str, np.ndarray]
) -> Checkpoint:
    """Return the checkpoint that a file holds.

    Raises
    ------
    ModelFileError
        If it is damaged or holds no training state.
    """
    if description.training is None:
        raise ModelFileError(
            f"{path}: holds a model without training state; it can be loaded with load_model"
        )
    try:
        record = msgspec.convert({"training": description.training}, Described).training
    except (msgspec.ValidationError, RecursionError, UnicodeEncodeError) as error:
        raise ModelFileError(f"{path}: has a damaged description: {error}") from error
    for number, row in enumerate(record.history, start=1):
        if not isinstance(row.get("epoch"), int) or row["epoch"] < 1:
            raise ModelFileError(
                f"{path}: row {number} of the history is damaged: expected a number of an epoch; "
                f"got {row.get('epoch')!r}"
            )
    state = {
        name.removeprefix(STATE): array for name, array in arrays.items() if name.startswith(STATE)
    }
    return Checkpoint(Path(path), description, record, without_state(arrays), state)


def load_checkpoint(trainer: Trainer, path: str | Path) -> None:
    """Put a trainer where `save_checkpoint` found it; its network must be made alike.

    What is not in the file is the trainer's own: loss, metrics, the optimizer's parameters and the
    data. The state of callbacks is handed to those of the next call of `Trainer.fit`: the first
    `EarlyStopping` in the file to the first one there, and so on.

    Raises
    ------
    ModelFileError
        If the file is damaged, holds no training state, or does not fit the trainer's optimizer or
        its network's layers, input shape, seed and dtype. Nothing has been changed then.
    """
    restore_checkpoint(trainer, read_checkpoint(path))


def restore_checkpoint(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Do the second half of `load_checkpoint`."""
    path, description, training = checkpoint.path, checkpoint.description, checkpoint.progress
    values = checkpoint.values
    check_same_network(trainer.model, description, path)
    try:
        check_values(trainer.model.parameters.specs, values)
        check_stored(values, description.dtype)
    except ArgumentError as error:
        raise ModelFileError(f"{path}: does not fit the trainer: {error}") from error
    ours, theirs = trainer.optimizer.name, training.optimizer
    if ours != theirs:
        raise ModelFileError(f"{path}: was trained with the optimizer {theirs!r}, not {ours!r}")
    state = {
        name: array for name, array in checkpoint.state.items() if not name.startswith(CALLBACKS)
    }
    check_state(trainer, state, training.position, path)
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
    restore_annotations(trainer.model, description)
    trainer.epoch, trainer.updates = training.epoch, training.updates
    trainer.history.replace(training.history)
    trainer.set_progress(
        state,
        position=training.position,
        first_epoch=training.first_epoch,
        stop_reason=training.stopped,
        recoveries=training.recoveries,
    )


def check_state(
    trainer: Trainer,
    state: Mapping[str, np.ndarray],
    position: EpochCursor | None,
    path: str | Path,
) -> None:
    """Raise a ModelFileError unless the optimizer's state fits; a run not yet begun has none."""
    if not state and position is None:
        return
    size = trainer.model.parameters.values.shape
    expected = {f"optimizer.{slot}": size for slot in trainer.optimizer.slots}
    expected |= {"updates": (1,), "passes": (1,)}
    if position is not None:
        if not position.makes_sense():
            raise ModelFileError(f"{path}: there is no such place in an epoch: {position}")
        if position.course.figures != trainer.measured:
            raise ModelFileError(
                f"{path}: was written in the middle of an epoch with the figures "
                f"{position.course.figures}, not {trainer.measured}"
            )
        own = {name: array.shape for name, array in state.items()}
        with_weight = trainer.statistics_shapes(True)
        fits = own.items() >= with_weight.items()
        expected |= with_weight if fits else trainer.statistics_shapes(False)
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
        if not np.isfinite(array).all():
            raise ModelFileError(
                f"{path}: the optimizer's state {name!r} holds numbers that are not finite"
            )
